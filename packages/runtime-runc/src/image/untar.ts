// An archive of images, unpacked flat: no name in it decides where anything lands.
import { createReadStream, createWriteStream } from 'node:fs'
import { join, posix } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CriError } from '@nodelet/cri-api'
import { extract } from 'tar-stream'

/** Its files, by name; links of old `docker save` archives stand for the file that they name. */
export async function untarFlat(path: string, folder: string, signal: AbortSignal): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  const links = new Map<string, string>()
  const entries = extract()
  const read = (async (): Promise<void> => {
    for await (const entry of entries) {
      const { type, linkname } = entry.header
      const name = posix.normalize(entry.header.name)
      if (type === 'file') {
        const file = join(folder, `${files.size}`)
        files.set(name, file)
        await pipeline(entry as unknown as AsyncIterable<Uint8Array>, createWriteStream(file), { signal })
        continue
      }
      if (type === 'symlink') links.set(name, posix.join(posix.dirname(name), linkname ?? ''))
      if (type === 'link') links.set(name, posix.normalize(linkname ?? ''))
      entry.resume()
    }
  })()
  try {
    await Promise.all([read, pipeline(createReadStream(path), entries, { signal })])
  } catch (cause) {
    signal.throwIfAborted()
    throw new CriError('INVALID_ARGUMENT', `${path}: not a tar of images: ${(cause as Error).message}`, { cause })
  }
  for (const [name, target] of links) {
    const file = files.get(target)
    if (file !== undefined && !files.has(name)) files.set(name, file)
  }
  return files
}
