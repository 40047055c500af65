// The OCI runtimes by the names that RuntimeClasses have for them.
import { existsSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import type { RuntimeHandlerFeatures } from '@nodelet/cri-api'
import { z } from 'zod'
import { execFile, findProgram } from './exec-file.ts'
import type { Finished } from './exec-file.ts'
import { createRunc } from './runc.ts'
import type { Runc } from './runc.ts'
import { startGateOf } from './start-gate.ts'

/** One OCI runtime: any program with runc's command line. */
export interface HandlerOptions {
  /** A path, or a name on the PATH. Default: the handler's name. */
  path?: string
  /** Annotations of pods that config.json gets, too: names, or beginnings with `*` at the end. Default: none. */
  podAnnotations?: readonly string[]
  /** The same for annotations of containers. */
  containerAnnotations?: readonly string[]
  /** Privileged containers get no devices of the host but those that they name. Default: they get all. */
  privilegedWithoutHostDevices?: boolean
  /** Containers may make cgroups below their own. Default: false. */
  cgroupWritable?: boolean
  /** How long a call of it may take, in milliseconds; making a container may take four times that. Default: 60 s. */
  callLimitMs?: number
}

/** How cgroups are named, and by whom they are made. */
export type CgroupDriver = 'cgroupfs' | 'systemd'

/** A handler that is there. */
export interface Handler {
  name: string
  options: HandlerOptions
  runc: Runc
  features: RuntimeHandlerFeatures
  /** Whether it moves network devices into containers. */
  netDevices: boolean
}

export interface Handlers {
  /**
   * An empty name is the default's.
   *
   * @throws CriError UNKNOWN when there is no such handler.
   */
  of(name: string | undefined): Handler
  list(): readonly Handler[]
  readonly cgroupDriver: CgroupDriver
}

export interface HandlersOptions {
  /** By name. Default: `runc`. */
  handlers?: Readonly<Record<string, HandlerOptions>>
  /** Default: the first. */
  defaultHandler?: string
  /** Default: `cgroupfs`. */
  cgroupDriver?: CgroupDriver
  /** Whether this machine can have pods in user namespaces. Default: false. */
  hasUserNamespaces?: boolean
}

/** As RuntimeClasses may name them. */
export const handlerNames: RegExp = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

/** What runtimes say of themselves. @see OCI runtime-spec, features.md */
const featuresSchema = z.object({
  mountOptions: z.array(z.string()).nullish(),
  linux: z
    .object({
      namespaces: z.array(z.string()).nullish(),
      netDevices: z.object({ enabled: z.boolean().nullish() }).nullish(),
    })
    .nullish(),
})

/**
 * Finds the programs and asks what they can do.
 *
 * @throws Error when one is not there, or the default is not among them, or systemd is to make cgroups and is not there.
 */
export async function openHandlers(runDir: string, options: HandlersOptions): Promise<Handlers> {
  const { handlers = { runc: {} }, cgroupDriver = 'cgroupfs', hasUserNamespaces = false } = options
  const names = Object.keys(handlers)
  const defaultName = options.defaultHandler ?? names[0] ?? ''
  if (!names.includes(defaultName)) {
    throw new Error(`default handler "${defaultName}" is not configured: name one of ${names.join(', ') || 'some'}`)
  }
  if (cgroupDriver === 'systemd' && !existsSync('/run/systemd/system')) {
    throw new Error('cgroup driver systemd: this machine does not run systemd; use cgroupfs')
  }
  const found = await Promise.all(
    names.map(async (name): Promise<Handler> => {
      if (!handlerNames.test(name)) {
        throw new Error(`handler name "${name}": use lower-case letters, digits and "-"`)
      }
      const own = handlers[name] ?? {}
      const binary = await findProgram(own.path ?? name)
      const root = name === 'runc' ? join(runDir, 'runc') : join(runDir, 'oci', name)
      const { callLimitMs = 60_000 } = own
      const [features, version] = await Promise.all([
        featuresOf(name, binary, hasUserNamespaces, callLimitMs),
        asked(name, binary, ['--version'], callLimitMs),
      ])
      const startGate = startGateOf(version.stdout)
      const runc = createRunc({ binary, root, startGate, callLimitMs, systemdCgroup: cgroupDriver === 'systemd' })
      return { name, options: own, runc, ...features }
    }),
  )
  const byName = new Map(found.map((handler) => [handler.name, handler]))
  return {
    of: (name) => {
      const handler = byName.get(name === undefined || name === '' ? defaultName : name)
      if (handler) return handler
      throw new CriError('UNKNOWN', `no runtime for "${name}" is configured: there are ${names.join(', ')}`)
    },
    list: () => found,
    cgroupDriver,
  }
}

/** A runtime that does not tell can do neither. */
async function featuresOf(
  name: string,
  binary: string,
  hasUserNamespaces: boolean,
  limitMs: number,
): Promise<Pick<Handler, 'features' | 'netDevices'>> {
  const { code, stdout } = await asked(name, binary, ['features'], limitMs)
  const [major = 0, minor = 0] = release().split('.').map(Number.parseFloat)
  const newEnough = major > 5 || (major === 5 && minor >= 12)
  const { data } = featuresSchema.safeParse(code === 0 ? jsonOf(stdout) : {})
  return {
    features: {
      recursiveReadOnlyMounts: newEnough && (data?.mountOptions?.includes('rro') ?? false),
      // It need not know of id-mapped mounts: those are made for it.
      userNamespaces: newEnough && hasUserNamespaces && (data?.linux?.namespaces?.includes('user') ?? false),
    },
    netDevices: data?.linux?.netDevices?.enabled ?? false,
  }
}

async function asked(name: string, binary: string, args: readonly string[], limitMs: number): Promise<Finished> {
  const limit = AbortSignal.timeout(limitMs)
  try {
    return await execFile(binary, args, limit)
  } catch (cause) {
    if (!limit.aborted) throw cause
    const message = `runtime handler ${name}: ${binary} ${args.join(' ')} did not end within ${limitMs / 1000} s`
    throw new Error(`${message}: see what it waits for, or take the handler away`, { cause })
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // an older one that prints its help
  }
}
