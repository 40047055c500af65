// The packet mark that asks for masquerading.
import { shown } from '../graph/problem.ts'

/**
 * The mark of a bit as rules spell it, for instance `0x00004000`.
 *
 * @throws RangeError when it is no bit of a mark.
 */
export function masqueradeMark(bit: number): string {
  if (!Number.isInteger(bit) || bit < 0 || bit > 31)
    throw new RangeError(`masqueradeBit: ${shown(bit)} is no bit of a mark; use 0 to 31`)
  return `0x${(2 ** bit).toString(16).padStart(8, '0')}`
}
