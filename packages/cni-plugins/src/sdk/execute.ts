// The protocol of plugins that are programs: environment and stdin in, stdout, stderr and exit code out.
// @see CNI spec 1.1, section 2
import { CniError, cniCode, isCniError } from '../errors.ts'
import { checkAttachment } from '../libcni/call.ts'
import { parseArgs } from '../libcni/cni-args.ts'
import { namePattern } from '../libcni/names.ts'
import { toVersion } from '../libcni/print-result.ts'
import { isBefore, newestVersion, sinceVersion } from '../libcni/versions.ts'
import type { AttachmentKey, CniResult, Host, PluginAttachment, PluginRequest, RequestConfig } from '../types.ts'
import type { DefinedPlugin } from './define-plugin.ts'
import { undo } from '../undo.ts'

export interface Execution {
  env: Readonly<Record<string, string | undefined>>
  /** Read only when the command needs it. */
  stdin: () => Promise<string>
  host: Host
  signal: AbortSignal
}

export interface Executed {
  stdout: string
  stderr: string
  exitCode: number
}

const required = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
  VERSION: [],
} as const

type Verb = keyof typeof required

/** One call of a plugin as a program. Never rejected: a failure is the answer. */
export async function execute(plugin: DefinedPlugin, execution: Execution): Promise<Executed> {
  if (!execution.env['CNI_COMMAND']) {
    const versions = plugin.supported.join(', ')
    const stderr = `CNI ${plugin.name} plugin\nCNI protocol versions supported: ${versions}\n`
    return { stdout: '', stderr, exitCode: 0 }
  }
  let cniVersion: string = newestVersion
  try {
    const command = commandOf(execution.env)
    if (command === 'VERSION') {
      const stdout = JSON.stringify({ cniVersion: newestVersion, supportedVersions: plugin.supported })
      return { stdout: `${stdout}\n`, stderr: '', exitCode: 0 }
    }
    const config = configOf(await execution.stdin())
    cniVersion = config.cniVersion
    const result = await run(plugin, command, config, execution)
    return { stdout: result ? print(result) : '', stderr: '', exitCode: 0 }
  } catch (error) {
    return { stdout: print(errorObject(error, cniVersion)), stderr: '', exitCode: 1 }
  }
}

const print = (value: object): string => `${JSON.stringify(value, undefined, 4)}\n`

/** A failure as it is printed. */
export function errorObject(error: unknown, cniVersion: string): object {
  if (isCniError(error)) {
    const { code, msg, details } = error
    return { cniVersion, code, msg, ...(details !== undefined && { details }) }
  }
  return { cniVersion, code: cniCode.internal, msg: error instanceof Error ? error.message : String(error) }
}

function commandOf(env: Execution['env']): Verb {
  const command = env['CNI_COMMAND'] ?? ''
  if (!Object.hasOwn(required, command)) {
    throw new CniError(cniCode.badEnvironment, `unknown CNI_COMMAND: ${command}`)
  }
  const missing = required[command as Verb].filter((name) => !env[name])
  if (missing.length > 0) {
    throw new CniError(cniCode.badEnvironment, `required env variables [${missing.join(',')}] missing`)
  }
  return command as Verb
}

function configOf(stdin: string): RequestConfig {
  let value: unknown
  try {
    value = JSON.parse(stdin)
  } catch (cause) {
    throw new CniError(cniCode.decoding, `error unmarshall network config: ${(cause as Error).message}`, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CniError(cniCode.decoding, 'error unmarshall network config: it is not an object')
  }
  const { name, cniVersion = '', type = '' } = value as Record<string, unknown>
  if (name === undefined || name === '') throw new CniError(cniCode.badConfig, 'missing network name')
  if (typeof name !== 'string' || !namePattern.test(name)) {
    throw new CniError(cniCode.badConfig, `invalid characters found in network name: ${JSON.stringify(name)}`)
  }
  if (typeof cniVersion !== 'string') {
    throw new CniError(cniCode.decoding, `cniVersion: ${JSON.stringify(cniVersion)} is not a string`)
  }
  return { ...value, name, type: String(type), cniVersion: cniVersion || '0.1.0' }
}

/** What is to be printed. */
async function run(
  plugin: DefinedPlugin,
  command: Exclude<Verb, 'VERSION'>,
  given: RequestConfig,
  { env, host, signal }: Execution,
): Promise<object | undefined> {
  const { prevResult: before, ...rest } = given
  const config: RequestConfig = { ...rest, name: given.name, type: given.type, cniVersion: given.cniVersion }
  if (isBefore(config.cniVersion, sinceVersion[command])) {
    throw new CniError(cniCode.incompatibleVersion, `config version does not allow ${command}`)
  }
  if (command === 'STATUS') await plugin.status(config, host, signal)
  else if (command === 'GC') await plugin.gc(config, validOf(config), host, signal)
  else {
    const prevResult = before ? await resultOf(before, config.cniVersion) : undefined
    const request = { network: attachmentOf(env), config, ...(prevResult && { prevResult }) }
    if (command === 'ADD') return add(plugin, request, host, signal)
    if (command === 'CHECK') await plugin.check(request, host, signal)
    else await plugin.del({ ...request, isLost: !prevResult }, host, signal)
  }
  await host.settleRules(signal)
  return undefined
}

/** What only plugins need that come after others is loaded when it is used. */
async function resultOf(value: unknown, cniVersion: string): Promise<CniResult> {
  const { parseResult } = await import('../libcni/parse-result.ts')
  return parseResult('prevResult', value, cniVersion)
}

function attachmentOf(env: Execution['env']): PluginAttachment {
  const attachment = {
    containerId: env['CNI_CONTAINERID'] ?? '',
    netns: env['CNI_NETNS'] ?? '',
    ifName: env['CNI_IFNAME'] ?? '',
    args: parseArgs(env['CNI_ARGS'] ?? ''),
  }
  checkAttachment(attachment)
  return attachment
}

async function add(plugin: DefinedPlugin, request: PluginRequest, host: Host, signal: AbortSignal): Promise<object> {
  const result = await plugin.add(request, host, signal)
  try {
    await host.settleRules(signal)
    return toVersion(result, request.config.cniVersion)
  } catch (error) {
    // Half done is not done.
    await undo(
      host,
      async () => plugin.del({ ...request, prevResult: result }, host, signal),
      async () => host.settleRules(signal),
    )
    throw error
  }
}

function validOf(config: RequestConfig): AttachmentKey[] {
  const given = config['cni.dev/valid-attachments'] ?? config['cni.dev/attachments']
  if (!Array.isArray(given)) throw new CniError(cniCode.badConfig, 'cni.dev/valid-attachments: must be a list')
  return given.map((one: unknown, at) => {
    const { containerID, ifname } = (one ?? {}) as Record<string, unknown>
    if (typeof containerID === 'string' && typeof ifname === 'string')
      return { containerId: containerID, ifName: ifname }
    throw new CniError(cniCode.badConfig, `cni.dev/valid-attachments.${at}: must have containerID and ifname`)
  })
}
