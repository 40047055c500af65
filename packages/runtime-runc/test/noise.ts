import { createHash } from 'node:crypto'

/** So many bytes of text that hardly get smaller when they are compressed, the same ones each time. */
export function noiseOf(bytes: number, seed = ''): string {
  const words: string[] = []
  for (let at = 0; at * 44 < bytes; at += 1) words.push(createHash('sha256').update(`${seed}${at}`).digest('base64'))
  return words.join('').slice(0, bytes)
}
