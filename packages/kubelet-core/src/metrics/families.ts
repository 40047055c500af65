// Makers of families of metrics in one registry.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** Buckets of most durations, in seconds. */
export const usualBuckets: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export interface Families {
  counter<Label extends string = never>(name: string, help: string, labels?: Label[]): Counter<Label>
  gauge<Label extends string = never>(name: string, help: string, labels?: Label[]): Gauge<Label>
  /** @param buckets default: {@link usualBuckets} */
  histogram<Label extends string = never>(
    name: string,
    help: string,
    labels?: Label[],
    buckets?: readonly number[],
  ): Histogram<Label>
}

export function familiesIn(registry: Registry): Families {
  const registers = [registry]
  return {
    counter: (name, help, labelNames = []) => new Counter({ name, help, labelNames, registers }),
    gauge: (name, help, labelNames = []) => new Gauge({ name, help, labelNames, registers }),
    histogram: (name, help, labelNames = [], buckets = usualBuckets) =>
      new Histogram({ name, help, labelNames, buckets: [...buckets], registers }),
  }
}
