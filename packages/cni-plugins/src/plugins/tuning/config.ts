// tuning's part of a network's configuration.
import { normalize } from 'node:path/posix'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { path, u32 } from '../../fields.ts'
import { checked } from '../../checked.ts'
import type { RequestConfig } from '../../types.ts'

export interface TuningConfig {
  /** By key, as it is written. */
  sysctl: Record<string, string>
  mtu?: number | undefined
  /** Only switched on. */
  promisc: boolean
  allmulti?: boolean | undefined
  txQLen?: number | undefined
  /** Where the link's settings of before are kept. */
  dataDir: string
}

const settings = {
  sysctl: z.record(z.string(), z.string()).nullish(),
  mtu: u32.nullish(),
  promisc: z.boolean().nullish(),
  allmulti: z.boolean().nullish(),
  txQLen: u32.nullish(),
}
const schema = z.object({
  ...settings,
  dataDir: path.nullish(),
  args: z.object({ cni: z.object(settings).nullish() }).nullish(),
})

/** `args.cni` goes before the object's own keys. @throws CniError naming the field */
export function parseTuning(config: RequestConfig): TuningConfig {
  const { args, dataDir, ...own } = checked('tuning', schema, config)
  const wanted = args?.cni ?? {}
  const pick = <Key extends keyof typeof own>(key: Key): (typeof own)[Key] => wanted[key] ?? own[key]
  return {
    sysctl: { ...own.sysctl, ...wanted.sysctl },
    mtu: pick('mtu') || undefined,
    promisc: pick('promisc') ?? false,
    allmulti: pick('allmulti') ?? undefined,
    txQLen: pick('txQLen') ?? undefined,
    dataDir: dataDir || '/run/cni/tuning',
  }
}

/**
 * Files below /proc/sys and what to write there.
 *
 * @param allowed expressions, one of which each key must match; absent: all keys are
 * @throws CniError for keys that are no network's, that name one file twice, or are not allowed
 */
export function sysctlFiles(
  { sysctl }: Pick<TuningConfig, 'sysctl'>,
  ifName: string,
  allowed?: readonly RegExp[],
): Map<string, string> {
  const files = new Map<string, string>()
  for (const [key, value] of Object.entries(sysctl)) {
    const wrong = (message: string): CniError => new CniError(cniCode.badConfig, `tuning: sysctl: ${message}`)
    if (allowed && !allowed.some((pattern) => pattern.test(key))) {
      const list = allowed.map(({ source }) => source).join(' ')
      throw wrong(`Sysctl ${key} is not allowed. Only the following sysctls are allowed: [${list}]`)
    }
    const file = normalize(key.replaceAll('.', '/').replace('IFNAME', () => ifName))
    if (!file.startsWith('net/') || file.includes('\0')) throw wrong(`invalid net sysctl key: ${JSON.stringify(key)}`)
    if (files.has(file)) throw wrong(`duplicated sysctl keys are not allowed: ${JSON.stringify(key)}`)
    files.set(file, value)
  }
  return files
}

/** A list of what sysctls may be set: one expression a line. @throws CniError naming the line */
export function parseAllowList(text: string): RegExp[] {
  const lines = text.split('\n').map((line) => line.trim())
  return lines.filter(Boolean).map((line) => {
    try {
      return new RegExp(line)
    } catch (cause) {
      throw new CniError(cniCode.badConfig, `tuning: allowlist.conf: ${(cause as Error).message}`, { cause })
    }
  })
}
