// What a layer may be at most, so that a hostile one does not fill the disk or the memory.

/** Limits of one layer. */
export interface LayerLimits {
  /** Bytes of the tar, uncompressed, and of the files. Default 64 GiB. */
  maxBytes: number
  /** Default 2,000,000. */
  maxEntries: number
  /** How many times larger than its blob, looked at from 1 GiB on. Default 300. */
  maxRatio: number
}

export const defaultLimits: LayerLimits = { maxBytes: 64 * 1024 ** 3, maxEntries: 2_000_000, maxRatio: 300 }

/** The kernel's own: bytes of a path and of a name. */
const longestPath = 4095
const longestPart = 255
/** Deeper trees can't be removed by all tools. */
const deepest = 1000
/** Smaller layers may be as compressible as they like. */
const smallBytes = 1024 ** 3

/** Counts what one layer takes. */
export interface Meter {
  tarBytes(count: number): void
  entry(name: string, fileBytes: number): void
}

/** @param blobBytes how large the compressed layer is */
export function createMeter(limits: LayerLimits, blobBytes: number): Meter {
  const { maxBytes, maxEntries, maxRatio } = limits
  let tar = 0
  let files = 0
  let entries = 0
  const check = (bytes: number, what: string): void => {
    if (bytes > maxBytes) throw new Error(`${what} more than the ${maxBytes} bytes that a layer may have (maxBytes)`)
  }
  return {
    tarBytes: (count) => {
      tar += count
      check(tar, 'it unpacks to')
      if (tar > Math.max(smallBytes, blobBytes * maxRatio)) {
        throw new Error(
          `it unpacks to more than ${maxRatio} times its ${blobBytes} bytes: refused as a bomb (maxRatio)`,
        )
      }
    },
    entry: (name, fileBytes) => {
      if (++entries > maxEntries)
        throw new Error(`more than the ${maxEntries} entries that a layer may have (maxEntries)`)
      files += fileBytes
      check(files, 'its files have')
      checkName(name)
    },
  }
}

/** @throws Error when the kernel would refuse it only half-way, or nobody could remove it */
function checkName(name: string): void {
  if (name.length <= longestPart / 4) return
  if (Buffer.byteLength(name) > longestPath) throw new Error(`a path longer than ${longestPath} bytes`)
  const parts = name.split('/')
  if (parts.length > deepest) throw new Error(`a path of more than ${deepest} parts`)
  if (parts.some((part) => Buffer.byteLength(part) > longestPart)) {
    throw new Error(`a name longer than ${longestPart} bytes`)
  }
}
