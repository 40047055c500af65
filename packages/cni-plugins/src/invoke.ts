// A plugin as a program. @see CNI spec 1.1, section 2
import { stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { finished, startProgram } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from './errors.ts'
import { isBefore, parseResult, toVersion } from './result.ts'
import type { Host, Plugin, PluginCall } from './types.ts'

const errorSchema = z.object({ code: z.number().int(), msg: z.string(), details: z.string().optional() })

/** Finds a plugin's program. @throws CniError naming the folders that were looked into */
export async function findPlugin(type: string, binDirs: readonly string[]): Promise<string> {
  for (const folder of binDirs) {
    const path = join(folder, type)
    if (await isFile(path)) return path
  }
  throw new CniError(cniCode.badConfig, `failed to find plugin "${type}" in path [${binDirs.join(' ')}]`)
}

/** False for what is not there: another folder may have it. */
async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

interface Run {
  command: 'ADD' | 'DEL' | 'STATUS'
  env: Record<string, string>
  input: object
}

/** How long a program may take when the caller sets no limit, in milliseconds. */
const patienceMs = 120_000

export function executablePlugin(type: string, binDirs: readonly string[]): Plugin {
  const run = async ({ command, env, input }: Run, host: Host, signal: AbortSignal): Promise<string> => {
    const program = await findPlugin(type, binDirs)
    const limit = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
    const all = { ...process.env, ...env, CNI_COMMAND: command, CNI_PATH: binDirs.join(delimiter) }
    const started = startProgram(program, [], {
      env: all,
      signal: limit,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(host.netns !== undefined && { netns: host.netns }),
    })
    const { stdin, stdout, stderr } = started
    stdin?.on('error', () => undefined) // it did not read all: its answer tells
    stdin?.end(JSON.stringify(input))
    // A child of its own may hold the pipes open after it was killed.
    const letGo = (): void => [stdout, stderr].forEach((stream) => stream?.destroy())
    limit.addEventListener('abort', letGo)
    try {
      const { stdout: out, stderr: err, code: number, signal: killedBy } = await finished(started)
      const code = number ?? killedBy ?? 0
      limit.throwIfAborted()
      if (code !== 0) throw failure(type, out, err, code)
      if (err.trim() !== '') host.log.warn({ plugin: type, command }, err.trim())
      return out
    } catch (error) {
      if (!limit.aborted || error instanceof CniError) throw error
      throw new CniError(cniCode.tryAgain, `plugin "${type}" gave no answer to ${command} in time and was killed`, {
        cause: error,
      })
    } finally {
      limit.removeEventListener('abort', letGo)
    }
  }
  const runFor = async (command: 'ADD' | 'DEL', call: PluginCall, host: Host, signal: AbortSignal): Promise<string> => {
    const { network, config, prevResult } = call
    const env = {
      CNI_CONTAINERID: network.containerId,
      CNI_NETNS: network.netns,
      CNI_IFNAME: network.ifName,
      CNI_ARGS: cniArgs(call),
    }
    const before = prevResult && { prevResult: toVersion(prevResult, config.cniVersion) }
    return run({ command, env, input: { ...config, ...before } }, host, signal)
  }
  return {
    add: async (call, host, signal) =>
      parseResult(type, parseJson(type, await runFor('ADD', call, host, signal)), call.config.cniVersion),
    del: async (call, host, signal) => void (await runFor('DEL', call, host, signal)),
    status: async (config, host, signal) => {
      if (isBefore(config.cniVersion, '1.1.0')) return void (await findPlugin(type, binDirs))
      const env = { CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '', CNI_ARGS: '' }
      return void (await run({ command: 'STATUS', env, input: config }, host, signal))
    },
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

function parseJson(type: string, out: string): unknown {
  try {
    return JSON.parse(out)
  } catch (cause) {
    const shown = JSON.stringify(out.slice(0, 200))
    throw new CniError(cniCode.decoding, `plugin "${type}" succeeded but its result ${shown} is not JSON`, { cause })
  }
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
