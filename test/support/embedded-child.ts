/**
 * A process that starts an embedded server, says so in one line of JSON, and then lives until it is
 * killed or its standard input ends. Its argument is the options of `startEmbedded` as JSON.
 */
import { startEmbedded, type EmbeddedOptions } from '../../src/db/embedded.ts'

const options: EmbeddedOptions = JSON.parse(process.argv[2] ?? '')
process.stdout.write(`${JSON.stringify(await startEmbedded(options))}\n`)
process.stdin.resume()
