import { expect, test } from 'vitest'
import { isA, messageOf, readThrown } from './thrown.ts'

const refuses = (): never => {
  throw new Error('refused')
}
const proxy = (of: object): unknown =>
  new Proxy(of, { get: refuses, getPrototypeOf: refuses, has: refuses, ownKeys: refuses })

test.each<[string, unknown, object]>([
  ['an error', new TypeError('broken'), { code: 'TypeError', message: 'broken' }],
  ['one with a code', Object.assign(new Error('x'), { code: 'E1' }), { code: 'E1', message: 'x' }],
  ['a number as code', Object.assign(new Error('x'), { code: 7 }), { code: 'Error', message: 'x' }],
  ['text', 'out of paper', { code: 'Error', message: 'a handler threw out of paper' }],
  ['nothing', null, { code: 'Error', message: 'a handler threw null' }],
  [
    'the body of an answer as message',
    Object.assign(new Error(), { message: { field: 'email' } }),
    { code: 'Error', message: "{ field: 'email' }" },
  ],
  ['no stack', Object.assign(new Error('x'), { stack: null }), { message: 'x', stack: undefined }],
  [
    'no prototype',
    Object.create(null),
    { code: 'Error', message: 'a handler threw [Object: null prototype] {}' },
  ],
  [
    'a getter that throws',
    Object.defineProperty(new Error('x'), 'message', { get: refuses }),
    { code: 'Error', message: '' },
  ],
  ['text that throws', { toString: refuses }, { code: 'Error' }],
  [
    'an inspection that throws',
    { [Symbol.for('nodejs.util.inspect.custom')]: refuses },
    { code: 'Error', message: 'a handler threw something that can not be read' },
  ],
  ['a proxy', proxy({}), { code: 'Error' }],
  ['a proxy of an error', proxy(new Error('x')), { code: 'Error' }],
])('%s is read, whatever it is', (_, error, expected) => {
  expect(readThrown(error)).toMatchObject(expected)
  expect(typeof messageOf(error)).toBe('string')
  expect(typeof isA(error, Error)).toBe('boolean')
})
