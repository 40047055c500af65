// A strict reader of Prometheus' text: what it takes, any scraper takes.

export interface Parsed {
  type: string
  samples: { name?: string; labels: Record<string, string>; value: number; timeMs?: number }[]
}

const line = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: (\d+))?$/
const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y

/** By family. @throws Error naming the line that is wrong */
export function parseMetrics(text: string): Map<string, Parsed> {
  const families = new Map<string, Parsed>()
  const helped = new Set<string>()
  let current = ''
  if (!text.endsWith('\n')) throw new Error('the text does not end with a newline')
  for (const one of text.slice(0, -1).split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(one) ?? []
    if (kind === 'HELP') {
      if (helped.has(name)) throw new Error(`a family twice: ${one}`)
      helped.add(name)
    } else if (kind === 'TYPE') {
      if (families.has(name) || !/^(counter|gauge|histogram)$/.test(rest)) throw new Error(`no good type: ${one}`)
      families.set(name, { type: rest, samples: [] })
      current = name
    } else if (one !== '') addSample(one, families, current)
  }
  return families
}

function addSample(one: string, families: Map<string, Parsed>, current: string): void {
  const [, name, pairs = '', value = '', time] = line.exec(one) ?? []
  const family = families.get(current)
  if (name === undefined || !family) throw new Error(`not a sample: ${one}`)
  const base = family.type === 'histogram' ? name.replace(/_(bucket|sum|count)$/, '') : name
  if (base !== current) throw new Error(`a sample outside its family ${current}: ${one}`)
  const labels: Record<string, string> = {}
  label.lastIndex = 0
  while (label.lastIndex < pairs.length) {
    const [, key, text] = label.exec(pairs) ?? []
    if (key === undefined || key in labels) throw new Error(`no good labels: ${one}`)
    labels[key] = (text ?? '').replaceAll(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char))
  }
  const number = value === '+Inf' ? Infinity : Number(value)
  if (Number.isNaN(number)) throw new Error(`no number: ${one}`)
  const key = JSON.stringify([name, labels])
  if (family.samples.some((other) => JSON.stringify([other.name ?? current, other.labels]) === key)) {
    throw new Error(`a sample twice: ${one}`)
  }
  family.samples.push({
    ...(name !== current && { name }),
    labels,
    value: number,
    ...(time !== undefined && { timeMs: Number(time) }),
  })
}
