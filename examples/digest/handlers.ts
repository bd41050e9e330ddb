/**
 * SHA-256 of every file below a folder, as a job that survives the death of its worker.
 *
 * The lines of the manifest go to a part file of the job; a checkpoint every few files says how many files are done and how long the
 * part is. The next attempt cuts the part back to that length and goes on from there, so no line is missing or doubled, and at most
 * the files since the last checkpoint are read again.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { appendFile, mkdir, open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineJob, type JobContext } from 'leasehold'
import { z } from 'zod'

const FILES_PER_CHECKPOINT = 5

const Input = z.object({
  /** The folder that the names in the manifest are relative to. */
  root: z.string(),
  /** The folder to read, relative to `root`; `.` means the files directly in it, without its folders. */
  folder: z.string(),
  /** Where part files go. */
  out: z.string(),
  /** A pause after each file, in milliseconds, so that a person can follow. */
  paceMs: z.number().min(0).default(0),
})

interface Checkpoint {
  files: number
  partBytes: number
}

export const digestFolder = defineJob({
  type: 'digest.folder',
  input: Input,
  run: async (ctx: JobContext<z.output<typeof Input>>) => {
    const { root, folder, out, paceMs } = ctx.input
    const names = await filesBelow(root, folder)
    const done = (ctx.resume?.checkpoint ?? { files: 0, partBytes: 0 }) as Checkpoint
    await mkdir(out, { recursive: true })
    const part = await open(path.join(out, `${ctx.jobId}.part`), 'a+')
    try {
      await part.truncate(done.partBytes)
      if (ctx.resume !== null) ctx.log.info('resumes', { from: done.files, of: names.length })
      let { files, partBytes } = done
      for (const name of names.slice(done.files)) {
        ctx.signal.throwIfAborted()
        const line = `${await sha256(path.join(root, name))}  ${name}\n`
        await part.appendFile(line)
        await appendFile(path.join(out, 'files-read.log'), `${ctx.jobId} ${ctx.attempt}\n`)
        partBytes += Buffer.byteLength(line)
        files += 1
        if (paceMs > 0) await sleep(paceMs)
        ctx.progress(files, names.length, path.basename(name))
        if (files % FILES_PER_CHECKPOINT === 0) {
          await part.datasync()
          await ctx.checkpoint({ files, partBytes } satisfies Checkpoint)
        }
      }
      await part.datasync()
      return { files, part: `${ctx.jobId}.part` }
    } finally {
      await part.close()
    }
  },
})

/** Regular files, names relative to `root`, in one order for every attempt. */
export async function filesBelow(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(path.join(root, folder), {
    recursive: folder !== '.',
    withFileTypes: true,
  })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
