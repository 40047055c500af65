// Times and sizes as a table shows them.

export const quantile = (values: readonly number[], at: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? Number.NaN
}
export const median = (values: readonly number[]): number => quantile(values, 0.5)

export const number = (value: number | undefined): string => {
  if (value === undefined || Number.isNaN(value)) return '–'
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
export const MiB = 1 << 20

/** Columns beside each other: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const width = Math.max(...rows.map((row) => row.length))
  const widths = Array.from({ length: width }, (_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)))
  const cell = (text: string, at: number): string =>
    at === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[at] ?? 0)
  return rows.map((row) => row.map(cell).join('  ').trimEnd()).join('\n')
}

/** Collects times by name. */
export class Times {
  readonly #times = new Map<string, number[]>()

  async of<T>(name: string, work: () => Promise<T>): Promise<T> {
    const since = performance.now()
    const result = await work()
    this.add(name, performance.now() - since)
    return result
  }

  add(name: string, ms: number): void {
    this.#times.set(name, [...(this.#times.get(name) ?? []), ms])
  }

  get(name: string): readonly number[] {
    return this.#times.get(name) ?? []
  }
}
