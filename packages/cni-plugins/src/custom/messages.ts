// What this process and one of custom plugins tell each other: an object of JSON per line, over a pipe for each direction.
import { z } from 'zod'
import { pluginName } from '../libcni/names.ts'
import { cniVersions } from '../libcni/versions.ts'
import type { CniVersion } from '../libcni/versions.ts'
import type { AttachmentKey, PluginRequest, RequestConfig } from '../types.ts'

/** Where the code is: a file, or a package and the folders that it is looked for from. */
export type PluginSource = { file: string } | { name: string; from: readonly string[] }

/** For messages: the file or the package. */
export const placeOf = (source: PluginSource): string => ('file' in source ? source.file : source.name)

export type ToPlugins =
  /** One call by the protocol of programs. */
  | {
      kind: 'call'
      call: number
      plugin: string
      env: Readonly<Record<string, string>>
      stdin: string
      addressDir: string
    }
  | { kind: 'abort'; call: number; reason: string }
  | { kind: 'answer'; ask: number; result?: unknown; error?: object }

const text = z.string()
const requestConfig = z.looseObject({ type: text, name: text, cniVersion: text })
const request = z.looseObject({
  network: z.object({ containerId: text, netns: text, ifName: text, args: z.record(text, text) }),
  config: requestConfig,
  prevResult: z.unknown().optional(),
})
const valid = z.array(z.object({ containerId: text, ifName: text }))

/** A request whose `prevResult` is not looked at yet. */
type WishedRequest = Omit<PluginRequest, 'prevResult'> & { prevResult?: unknown }

/** What a plugin asks of the machine, for the call that it is working on. */
export type Wish =
  | { verb: 'add' | 'del' | 'check'; type: string; request: WishedRequest }
  | { verb: 'gc'; type: string; config: RequestConfig; valid: AttachmentKey[] }
  | { verb: 'status'; type: string; config: RequestConfig }
  | { verb: 'versions'; type: string }
  | { verb: 'settleRules' }
const wish: z.ZodType<Wish> = z.discriminatedUnion('verb', [
  z.object({ verb: z.enum(['add', 'del', 'check']), type: text, request }),
  z.object({ verb: z.literal('gc'), type: text, config: requestConfig, valid }),
  z.object({ verb: z.literal('status'), type: text, config: requestConfig }),
  z.object({ verb: z.literal('versions'), type: text }),
  z.object({ verb: z.literal('settleRules') }),
])

/** A plugin that was found. */
export interface Described {
  name: string
  versions: CniVersion[]
}
const described: z.ZodType<Described> = z.object({
  name: text.regex(pluginName, 'must be the name of a plugin'),
  versions: z.array(z.enum(cniVersions)),
})

export type FromPlugins =
  | { kind: 'ready'; plugins: Described[] }
  | { kind: 'done'; call: number; stdout: string; exitCode: number }
  | { kind: 'ask'; call: number; ask: number; wish: Wish }
  | { kind: 'takeBack'; ask: number }
  | { kind: 'log'; fields: Record<string, unknown>; message: string }
  /** Why the process ends. */
  | { kind: 'fault'; reason: string }
const fromPlugins: z.ZodType<FromPlugins> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ready'), plugins: z.array(described) }),
  z.object({ kind: z.literal('done'), call: z.number(), stdout: text, exitCode: z.number() }),
  z.object({ kind: z.literal('ask'), call: z.number(), ask: z.number(), wish }),
  z.object({ kind: z.literal('takeBack'), ask: z.number() }),
  z.object({ kind: z.literal('log'), fields: z.record(text, z.unknown()), message: text }),
  z.object({ kind: z.literal('fault'), reason: text }),
])

/** @throws Error when it is no message */
export const parseMessage = (line: string): FromPlugins => fromPlugins.parse(JSON.parse(line))

/** An error has no fields that JSON would show. */
export const printMessage = (message: ToPlugins | FromPlugins): string =>
  `${JSON.stringify(message, (_, value: unknown) =>
    value instanceof Error ? { type: value.name, message: value.message, stack: value.stack } : value,
  )}\n`

/** Gives whole lines of what comes in pieces. */
export function splitLines(onLine: (line: string) => void): (piece: Buffer) => void {
  const decoder = new TextDecoder()
  let rest = ''
  return (piece) => {
    const lines = (rest + decoder.decode(piece, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    lines.forEach(onLine)
  }
}
