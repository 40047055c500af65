// Modes of macvlan and ipvlan.
import type { Link } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'

/** @param modes the first is the default, also of an empty text */
export function modeKey<Mode extends string>(
  kind: string,
  modes: readonly [Mode, ...Mode[]],
): z.ZodType<Mode, string | undefined> {
  return z
    .string()
    .default('')
    .transform((mode, context) => {
      const known = modes.find((one) => one === (mode || modes[0]))
      if (known !== undefined) return known
      context.addIssue(`unknown ${kind} mode: "${mode}"`)
      return z.NEVER
    })
}

/** @throws CniError when the link's mode is another */
export function checkMode({ details }: Link, kind: 'macvlan' | 'ipvlan', wanted: string): void {
  const mode = details?.kind === kind && 'mode' in details ? details.mode : undefined
  if (mode === wanted) return
  throw new CniError(cniCode.internal, `container ${kind} mode ${mode} does not match expected value: ${wanted}`)
}
