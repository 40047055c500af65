// A plugin as a program. @see CNI spec 1.1, section 2
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { inNamespace } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from './errors.ts'
import type { CniResult, Host, Plugin, PluginCall } from './types.ts'

const resultSchema = z.object({
  cniVersion: z.string().default(''),
  interfaces: z
    .array(
      z.object({
        name: z.string(),
        mac: z.string().optional(),
        mtu: z.number().optional(),
        sandbox: z.string().optional(),
      }),
    )
    .default([]),
  ips: z
    .array(z.object({ address: z.string(), gateway: z.string().optional(), interface: z.number().int().optional() }))
    .default([]),
  routes: z.array(z.object({ dst: z.string(), gw: z.string().optional() })).default([]),
  dns: z
    .object({
      nameservers: z.array(z.string()).optional(),
      domain: z.string().optional(),
      search: z.array(z.string()).optional(),
      options: z.array(z.string()).optional(),
    })
    .default({}),
})
const errorSchema = z.object({ code: z.number().int(), msg: z.string(), details: z.string().optional() })

/** Finds a plugin's program. @throws CniError naming the folders that were looked into */
export async function findPlugin(type: string, binDirs: readonly string[]): Promise<string> {
  for (const folder of binDirs) {
    const path = join(folder, type)
    const found = await stat(path).catch(() => undefined) // the next folder may have it
    if (found?.isFile()) return path
  }
  throw new CniError(cniCode.badConfig, `failed to find plugin "${type}" in path [${binDirs.join(' ')}]`)
}

export function executablePlugin(type: string, binDirs: readonly string[]): Plugin {
  const run = async (command: 'ADD' | 'DEL', call: PluginCall, host: Host, signal: AbortSignal): Promise<string> => {
    const program = await findPlugin(type, binDirs)
    const { containerId, netns, ifName } = call.network
    const env = {
      ...process.env,
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      CNI_IFNAME: ifName,
      CNI_ARGS: cniArgs(call),
      CNI_PATH: binDirs.join(delimiter),
    }
    const start = (): ChildProcess => spawn(program, [], { env, signal, stdio: ['pipe', 'pipe', 'pipe'] })
    const child = host.netns === undefined ? start() : inNamespace('net', host.netns, start)
    const { promise: ended, resolve, reject } = Promise.withResolvers<string | number>()
    child.once('error', reject).once('close', (code, name) => resolve(code ?? name ?? 0))
    child.stdin?.on('error', () => undefined) // it did not read all: its answer tells
    child.stdin?.end(JSON.stringify({ ...call.config, ...(call.prevResult && { prevResult: call.prevResult }) }))
    if (!child.stdout || !child.stderr) throw new Error(`${program}: no output`)
    const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended])
    if (code !== 0) throw failure(type, out, err, code)
    return out
  }
  return {
    add: async (call, host, signal) => parseResult(type, await run('ADD', call, host, signal), call.config.cniVersion),
    del: async (call, host, signal) => void (await run('DEL', call, host, signal)),
  }
}

export function cniArgs({ network: { pod, containerId } }: Pick<PluginCall, 'network'>): string {
  if (!pod) return 'IgnoreUnknown=1'
  const fields = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: pod.namespace,
    K8S_POD_NAME: pod.name,
    K8S_POD_INFRA_CONTAINER_ID: containerId,
    K8S_POD_UID: pod.uid,
  }
  return Object.entries(fields)
    .map(([key, value]) => `${key}=${value}`)
    .join(';')
}

function parseResult(type: string, out: string, cniVersion: string): CniResult {
  let value: unknown
  try {
    value = JSON.parse(out)
  } catch (cause) {
    const shown = JSON.stringify(out.slice(0, 200))
    throw new CniError(cniCode.decoding, `plugin "${type}" succeeded but its result ${shown} is not JSON`, { cause })
  }
  const parsed = resultSchema.safeParse(value)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.decoding, `result of plugin "${type}": ${issue?.path.join('.')}: ${issue?.message}`)
  }
  return { ...(parsed.data as CniResult), cniVersion: parsed.data.cniVersion || cniVersion }
}

function failure(type: string, out: string, err: string, code: string | number): CniError {
  const how = typeof code === 'number' ? `exit status ${code}` : `signal: ${code}`
  if (out.trim() === '') {
    const said = err.trim() === '' ? ' with no error message' : `: ${JSON.stringify(err.trim())}`
    return new CniError(cniCode.internal, `plugin "${type}": netplugin failed${said}: ${how}`)
  }
  try {
    const { code: number, msg, details } = errorSchema.parse(JSON.parse(out))
    return new CniError(number, `plugin "${type}": ${msg}`, { details })
  } catch (cause) {
    const shown = JSON.stringify(out.slice(0, 200))
    return new CniError(
      cniCode.decoding,
      `plugin "${type}": netplugin failed but error parsing its diagnostic message ${shown}: ${how}`,
      { cause },
    )
  }
}
