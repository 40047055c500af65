// dhcp's part of a network's configuration. Pure.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { checked } from '../../checked.ts'
import { path, u32 } from '../../fields.ts'
import { option } from './message.ts'

export interface DhcpConfig {
  /** Of the daemon; absent: this process holds leases if it lives long enough, else the daemon at the usual place. */
  daemonSocketPath?: string | undefined
  /** Metric of the routes; 0: none. */
  priority: number
  /** What servers are told. */
  provide: { code: number; value?: string | undefined; fromArg?: string | undefined }[]
  /** Numbers of the options that servers are asked for. */
  request: number[]
}

/** As dhclient names them. */
const codes = new Map<string, number>([
  ['dhcp-client-identifier', option.clientId],
  ['subnet-mask', option.subnetMask],
  ['routers', option.routers],
  ['host-name', option.hostName],
  ['user-class', option.userClass],
  ['vendor-class-identifier', option.vendorClass],
])
const requestedByDefault = [option.routers, option.subnetMask]
const longestValue = 255

const text = z.string().nullish()
const schema = z.object({
  ipam: z.object({
    daemonSocketPath: path.optional(),
    priority: u32.default(0),
    provide: z.array(z.object({ option: z.string(), value: text, fromArg: text })).nullish(),
    request: z.array(z.object({ option: z.string(), skipDefault: z.boolean().default(false) })).nullish(),
  }),
})

/** @throws CniError naming the field and the value */
export function parseDhcp(config: object): DhcpConfig {
  const { daemonSocketPath, priority, provide, request } = checked('dhcp', schema, config).ipam
  const wanted = request ?? []
  const defaults = wanted.some(({ skipDefault }) => skipDefault) ? [] : requestedByDefault
  return {
    daemonSocketPath: daemonSocketPath || undefined,
    priority,
    provide: (provide ?? []).map(({ option: name, value, fromArg }) => ({
      code: codeOf(name),
      value: value || undefined,
      fromArg: fromArg || undefined,
    })),
    request: [...new Set([...wanted.map(({ option: name }) => codeOf(name)), ...defaults])],
  }
}

function codeOf(name: string): number {
  const code = codes.get(name) ?? (/^\d{1,3}$/.test(name) ? Number(name) : Number.NaN)
  if (code < option.end && code > option.pad) return code
  throw new CniError(cniCode.badConfig, `Can not parse option ${JSON.stringify(name)}`)
}

/** What servers are told of one pod. @param args CNI_ARGS. @throws CniError naming a value that is too long */
export function providedOptions(
  { provide }: DhcpConfig,
  args: Readonly<Record<string, string>>,
): { code: number; value: string }[] {
  const values = new Map<number, string>()
  for (const { code, value, fromArg } of provide) {
    const ofPod = fromArg !== undefined && Object.hasOwn(args, fromArg) ? args[fromArg] : undefined
    for (const one of [value, ofPod]) if (one !== undefined) values.set(code, one)
  }
  return [...values].map(([code, value]) => {
    if (Buffer.byteLength(value) <= longestValue) return { code, value }
    throw new CniError(cniCode.badConfig, `value too long for option ${code}: ${JSON.stringify(value)}`)
  })
}
