// The sizes of a client's terminal.
import type { TerminalSize } from '@nodelet/linux'

const MAX_PENDING = 4096
const MAX_SIDE = 0xffff

/** Takes a client's messages and tells listeners of the sizes in them. */
export interface Resizes {
  /** Takes JSON objects back to back, cut anywhere. Anything else is ignored. */
  feed(text: string): void
  /** Tells the size known so far and all that follow. */
  onResize(listener: (size: TerminalSize) => void): void
}

export function createResizes(): Resizes {
  const listeners: ((size: TerminalSize) => void)[] = []
  let latest: TerminalSize | undefined
  let pending = ''
  return {
    feed: (text) => {
      pending += text
      for (let end = pending.indexOf('}'); end >= 0; end = pending.indexOf('}')) {
        const size = parseSize(pending.slice(0, end + 1))
        pending = pending.slice(end + 1)
        if (!size) continue
        latest = size
        for (const listener of listeners) listener(size)
      }
      if (pending.length > MAX_PENDING) pending = ''
    },
    onResize: (listener) => {
      listeners.push(listener)
      if (latest) listener(latest)
    },
  }
}

function parseSize(text: string): TerminalSize | undefined {
  try {
    const { Width, Height } = JSON.parse(text) as { Width?: unknown; Height?: unknown }
    if (!isSide(Width) || !isSide(Height)) return undefined
    return { columns: Width, rows: Height }
  } catch {
    return undefined // not a size: the terminal stays as it is
  }
}

function isSide(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0 && Number(value) <= MAX_SIDE
}
