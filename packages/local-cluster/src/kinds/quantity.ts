// Amounts of resources as the API writes them. Pure.
import { isFields } from '../object.ts'

const quantityPattern = /^([+-]?[0-9.]+)([eE][-+]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$/
const scales: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

/** A quantity's value, exact enough to compare; NaN for what is none. */
export function quantity(value: unknown): number {
  const match = quantityPattern.exec(String(value))
  if (!match) return Number.NaN
  const [, number = '', suffix = ''] = match
  const scale = scales[suffix]
  return scale === undefined ? Number(`${number}${suffix}`) : Number(number) * scale
}

/** The first text among resources that is not a quantity. */
export function badQuantity(value: unknown, key = ''): boolean {
  if (Array.isArray(value)) return value.some((one) => badQuantity(one))
  if (!isFields(value)) return false
  return Object.entries(value).some(([name, part]) =>
    isFields(part) && (name === 'capacity' || (['limits', 'requests'].includes(name) && key === 'resources'))
      ? Object.values(part).some((one) => Number.isNaN(quantity(one)))
      : badQuantity(part, name),
  )
}
