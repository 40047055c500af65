// Numbers of a driver's answers → those of the wire.

/** @throws Error naming the field and the value */
export function amount(field: string, value: number): bigint {
  if (Number.isInteger(value)) return BigInt(value)
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
  throw new Error(`${field} ${shown}: must be a whole number`)
}
