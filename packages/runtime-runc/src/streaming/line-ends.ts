// Line ends of a terminal, whoever makes them.
import { Transform } from 'node:stream'

const CR = 13
const LF = 10

/**
 * Puts a carriage return before each line feed that has none. runc takes that off the container's terminal a moment after
 * the program may have written, and leaves it to its own: so lines come with it at first, and without it later.
 */
export function lineEnds(): Transform {
  let last = 0
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      const bytes: number[] = []
      for (const byte of chunk) {
        if (byte === LF && last !== CR) bytes.push(CR)
        bytes.push(byte)
        last = byte
      }
      done(null, Buffer.from(bytes))
    },
  })
}
