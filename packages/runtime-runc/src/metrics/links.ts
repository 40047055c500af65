// The counters of a pod's links, as /proc/net/dev has them.

/** Counters since the link was made. */
export interface LinkCounters {
  name: string
  rxBytes: number
  rxPackets: number
  rxErrors: number
  rxDropped: number
  txBytes: number
  txPackets: number
  txErrors: number
  txDropped: number
}

/** Columns of a line after the name; `lo` is left out. */
export function parseLinks(text: string): LinkCounters[] {
  return text.split('\n').flatMap((line): LinkCounters[] => {
    const [, name = '', counters = ''] = /^\s*([^:\s]+):\s*(.*)$/.exec(line) ?? []
    const fields = counters.trim().split(/\s+/).map(Number)
    if (name === '' || name === 'lo' || fields.length < 12) return []
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0] = fields
    const [txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = fields.slice(8)
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }]
  })
}
