// How a blob is compressed.
import { open } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import type { Duplex } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

const gzipMagic = 0x1f8b
const zstdMagic = 0x28b52ffd
/** A frame without data, which some builders put first: its last digit is anything. */
const zstdSkippable = 0x184d2a50

/** Undone in pieces of this size, some of them ahead of whoever reads: that happens on other threads. Bytes. */
const ahead = { chunkSize: 256 * 1024, readableHighWaterMark: 1024 * 1024 }

/** What undoes a file's compression, told by its first bytes and not by the media type, which some builders get wrong. */
export async function decompressor(path: string): Promise<Duplex> {
  const head = Buffer.alloc(4)
  {
    await using file = await open(path, 'r')
    await file.read(head, 0, head.length, 0)
  }
  if (head.readUInt16BE(0) === gzipMagic) return createGunzip(ahead)
  const isSkippable = (head.readUInt32LE(0) & ~0xf) >>> 0 === zstdSkippable
  return head.readUInt32BE(0) === zstdMagic || isSkippable ? createZstdDecompress(ahead) : new PassThrough()
}
