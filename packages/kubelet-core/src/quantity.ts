// Kubernetes quantities (`500m`, `1.5Gi`, `2e3`) as exact thousandths.

const binary: Record<string, bigint> = { Ki: 10n, Mi: 20n, Gi: 30n, Ti: 40n, Pi: 50n, Ei: 60n }
const decimal: Record<string, number> = { n: -9, u: -6, m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 }
const pattern = /^([+-]?)(\d*)(?:\.(\d*))?(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,2}))?$/

/**
 * A quantity in thousandths of its unit, rounded away from zero as the API server does.
 * @throws RangeError naming the field and the value when the text is not a quantity.
 * @see apimachinery resource.Quantity
 */
export function parseMilliQuantity(text: string | number, field = 'quantity'): bigint {
  const match = pattern.exec(String(text))
  const [, sign, whole = '', fraction = '', binarySuffix, suffix, exponent] = match ?? []
  if (!match || whole + fraction === '' || whole.length + fraction.length > 40) {
    throw new RangeError(`${field}: ${JSON.stringify(text)} is not a quantity; write for instance 500m, 1.5 or 64Mi`)
  }
  const digits = BigInt(whole + fraction)
  const scaled = binarySuffix ? digits << (binary[binarySuffix] ?? 0n) : digits
  const power = (exponent ? Number(exponent) : (decimal[suffix ?? ''] ?? 0)) + 3 - fraction.length
  const magnitude = power >= 0 ? scaled * 10n ** BigInt(power) : divideUp(scaled, 10n ** BigInt(-power))
  return sign === '-' ? -magnitude : magnitude
}

/** A quantity in whole units, rounded away from zero: bytes of memory, whole cores. */
export function parseQuantity(text: string | number, field?: string): bigint {
  const milli = parseMilliQuantity(text, field)
  return milli < 0n ? -divideUp(-milli, 1000n) : divideUp(milli, 1000n)
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor
}

/** A quantity of so many thousandths, as text. */
export function printMilliQuantity(milli: bigint): string {
  return milli % 1000n === 0n ? String(milli / 1000n) : `${milli}m`
}
