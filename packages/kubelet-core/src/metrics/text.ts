// Prometheus' text form, for what is read at the moment of the scrape. Pure.

export interface Sample {
  labels: Readonly<Record<string, string>>
  value: number | bigint
  /** When it was measured, in milliseconds since the epoch; left out: at the scrape. */
  timeMs?: number | undefined
}

export interface Family {
  name: string
  help: string
  type: 'counter' | 'gauge'
  samples: readonly Sample[]
}

/** @see https://prometheus.io/docs/instrumenting/exposition_formats */
export function metricsText(families: readonly Family[]): string {
  return families
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, help, type, samples }) => {
      const head = `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n`
      return head + samples.map((sample) => sampleLine(name, sample)).join('')
    })
    .join('')
}

function sampleLine(name: string, { labels, value, timeMs }: Sample): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text).replaceAll('"', String.raw`\"`)}"`)
  const shown = pairs.length > 0 ? `{${pairs.join(',')}}` : ''
  return `${name}${shown} ${value}${timeMs === undefined ? '' : ` ${Math.round(timeMs)}`}\n`
}

const escaped = (text: string): string => text.replaceAll('\\', String.raw`\\`).replaceAll('\n', String.raw`\n`)

/** What an HTTP answer says of such a text. */
export const metricsContentType = 'text/plain; version=0.0.4; charset=utf-8'
