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

export type Compression = 'gzip' | 'zstd' | 'none'

/** Told by a file's first bytes and not by a media type, which some builders get wrong. */
export async function compressionOf(path: string): Promise<Compression> {
  const head = Buffer.alloc(4)
  {
    await using file = await open(path, 'r')
    await file.read(head, 0, head.length, 0)
  }
  if (head.readUInt16BE(0) === gzipMagic) return 'gzip'
  const isSkippable = (head.readUInt32LE(0) & ~0xf) >>> 0 === zstdSkippable
  return head.readUInt32BE(0) === zstdMagic || isSkippable ? 'zstd' : 'none'
}

/** What undoes a file's compression. */
export async function decompressor(path: string): Promise<Duplex> {
  const compression = await compressionOf(path)
  if (compression === 'none') return new PassThrough()
  return compression === 'gzip' ? createGunzip(ahead) : createZstdDecompress(ahead)
}
