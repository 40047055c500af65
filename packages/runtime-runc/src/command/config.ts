// What the daemon needs to know, from flags over a file over defaults. Options that containerd's CRI plugin has too are
// named as there, in camel case.
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { packageNamePattern } from '@nodelet/cni-plugins'
import { parse } from 'yaml'
import { z } from 'zod'
import { CDI_SPEC_DIRS } from '../cdi/cdi.ts'
import { handlerNames } from '../handlers.ts'
import type { CgroupDriver, HandlerOptions } from '../handlers.ts'
import { parseDuration } from './duration.ts'

/** Complete and checked. */
export interface DaemonConfig {
  /** Images and what else must last are below this folder; default `/var/lib/nodelet`. */
  root: string
  /** What a reboot may lose: a short path on a tmpfs, default `/run/nodelet`. */
  run: string
  /** The socket; default `runtime.sock` below `run`. */
  listen: string
  cni: {
    /** Network lists, the first by name is the network; default `/etc/cni/net.d`. */
    confDir: string
    /** CNI programs; default `/opt/cni/bin`. */
    binDirs: string[]
    /** Whether our own plugins run in this process; default true. */
    inProcess: boolean
    /** Folder of custom plugins: each `*.ts`, `*.js` and `*.mjs` in it; default none. */
    pluginDir?: string | undefined
    /** npm packages of custom plugins; default none. */
    pluginPackages: string[]
    /** Folders that these are looked for from; default: that of the configuration file, then the working folder. */
    packageDirs?: string[] | undefined
  }
  /** Pods that name no cgroup parent are below this cgroup; default `/nodelet`. */
  cgroupParent: string
  /** Where exec, attach and port-forward are served; default `127.0.0.1`. */
  streamServerAddress: string
  /** Default 0, any free one. */
  streamServerPort: number
  /** Milliseconds; default `4h`. */
  streamIdleTimeout: number
  /** Blobs of one image that come at once; default 3. */
  maxConcurrentDownloads: number
  /** Milliseconds without a byte after which a pull is given up; 0: never; default `5m`. */
  imagePullProgressTimeout: number
  /** OCI runtimes by the names of RuntimeClasses' handlers; default `runc`. */
  handlers: Record<string, HandlerOptions>
  /** Default: the first. */
  defaultHandler: string
  /** Default `cgroupfs`. */
  cgroupDriver: CgroupDriver
  /** Folders of CDI files, a later one wins; default `/etc/cdi` and `/var/run/cdi`. */
  cdiSpecDirs: string[]
  /** Devices belong to the user of the container that names them; default false. */
  deviceOwnershipFromSecurityContext: boolean
  /** Containers have SELinux labels, which this machine must have enabled; default false. */
  enableSelinux: boolean
  /** Images that kubelet's garbage collection leaves: names, `prefix*` or `*keyword*`. */
  pinnedImages: string[]
  registry: {
    /** Folders of `HOST/hosts.toml` files, colons between; default `/etc/containerd/certs.d`. */
    configPath: string
  }
  logLevel: 'error' | 'warn' | 'info' | 'debug'
}

type Times = 'streamIdleTimeout' | 'imagePullProgressTimeout'
type Parts = 'cni' | 'registry'

/** What a file or flags may say; spans of time are texts such as `90s`. */
export type DaemonConfigInput = Partial<Omit<DaemonConfig, Parts | Times> & Record<Times, string>> & {
  [K in Parts]?: Partial<DaemonConfig[K]>
}

const path = z.string().regex(/^\//, 'must be an absolute path')
const packageName = z.string().regex(packageNamePattern, 'must be the name of an npm package')
const short = (bytes: number): z.ZodString =>
  path.refine((text) => Buffer.byteLength(text) <= bytes, {
    error: `must be at most ${bytes} bytes long: a unix socket's name is short`,
  })
const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text)
  if (ms === undefined) context.addIssue({ code: 'custom', message: 'must be a span of time such as 90s, 5m or 4h' })
  return ms ?? 0
})

const handler: z.ZodType<HandlerOptions> = z.strictObject({
  path: z.string().min(1).exactOptional(),
  podAnnotations: z.array(z.string()).exactOptional(),
  containerAnnotations: z.array(z.string()).exactOptional(),
  privilegedWithoutHostDevices: z.boolean().exactOptional(),
  cgroupWritable: z.boolean().exactOptional(),
  callLimitMs: z.number().int().positive().exactOptional(),
})

const handlers = z
  .record(z.string().regex(handlerNames, 'must be lower-case letters, digits and "-"'), handler)
  .refine((all) => Object.keys(all).length > 0, 'must have a handler')
const folders = z.string().regex(/^\/[^:]*(:\/[^:]*)*$/, 'must be absolute paths with colons between')

type Unfinished = 'listen' | 'defaultHandler'
type Parsed = Omit<DaemonConfig, Unfinished> & { [K in Unfinished]?: string | undefined }
const schema: z.ZodType<Parsed> = z.strictObject({
  root: path.default('/var/lib/nodelet'),
  run: short(34).default('/run/nodelet'),
  listen: z
    .string()
    .transform((text) => text.replace(/^unix:\/\//, ''))
    .pipe(short(107))
    .optional(),
  cni: z
    .strictObject({
      confDir: path.default('/etc/cni/net.d'),
      binDirs: z.array(path).default(['/opt/cni/bin']),
      inProcess: z.boolean().default(true),
      pluginDir: path.optional(),
      pluginPackages: z.array(packageName).default([]),
      packageDirs: z.array(path).optional(),
    })
    .prefault({}),
  cgroupParent: path.default('/nodelet'),
  streamServerAddress: z.union([z.ipv4(), z.ipv6()]).default('127.0.0.1'),
  streamServerPort: z.number().int().min(0).max(65_535).default(0),
  streamIdleTimeout: duration.prefault('4h'),
  maxConcurrentDownloads: z.number().int().min(1).default(3),
  imagePullProgressTimeout: duration.prefault('5m'),
  handlers: handlers.default({ runc: {} }),
  defaultHandler: z.string().optional(),
  cgroupDriver: z.enum(['cgroupfs', 'systemd']).default('cgroupfs'),
  deviceOwnershipFromSecurityContext: z.boolean().default(false),
  enableSelinux: z.boolean().default(false),
  cdiSpecDirs: z.array(path).default([...CDI_SPEC_DIRS]),
  pinnedImages: z.array(z.string().min(1)).default([]),
  registry: z.strictObject({ configPath: folders.default('/etc/containerd/certs.d') }).prefault({}),
  logLevel: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
})

/** A configuration that can't be used: names the source, the field and the value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** @throws ConfigError naming every wrong field */
export function parseConfig(input: unknown, source: string): DaemonConfig {
  const result = schema.safeParse(input)
  if (!result.success) {
    const problems = result.error.issues.flatMap((issue) => problemsOf(issue, input))
    throw new ConfigError(`${source}:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
  }
  const { run, handlers: all } = result.data
  const names = Object.keys(all)
  const { listen = join(run, 'runtime.sock'), defaultHandler = names[0] ?? '' } = result.data
  if (!names.includes(defaultHandler)) {
    const told = `must be one of the handlers ${names.join(', ')}, is ${JSON.stringify(defaultHandler)}`
    throw new ConfigError(`${source}:\n  defaultHandler: ${told}`)
  }
  return { ...result.data, listen, defaultHandler }
}

function problemsOf(issue: z.core.$ZodIssue, input: unknown): string[] {
  const tell = (at: PropertyKey[], message: string): string => {
    const value = at.reduce<unknown>(
      (object, key) => (object as Record<PropertyKey, unknown> | undefined)?.[key],
      input,
    )
    const shown = value === undefined ? '' : `, is ${JSON.stringify(value)}`
    return `${at.join('.') || '(top)'}: ${message}${shown}`
  }
  if (issue.code === 'invalid_key') return issue.issues.map(({ message }) => tell(issue.path, message))
  if (issue.code !== 'unrecognized_keys') return [tell(issue.path, issue.message)]
  return issue.keys.map((key) => tell([...issue.path, key], 'there is no such option'))
}

/** Reads a file (YAML or JSON), if one is named, and lays the flags over it. @throws ConfigError */
export async function readConfig(file: string | undefined, flags: DaemonConfigInput): Promise<DaemonConfig> {
  if (file === undefined) return parseConfig(flags, 'flags')
  let content: unknown
  try {
    content = parse(await readFile(file, 'utf8')) ?? {}
  } catch (error) {
    throw new ConfigError(`${file}: ${(error as Error).message}`, { cause: error })
  }
  if (typeof content !== 'object' || Array.isArray(content)) throw new ConfigError(`${file}: must be options by name`)
  const said = content as DaemonConfigInput
  // What the file alone says wrong is told of the file.
  parseConfig(said, file)
  const packageDirs = [dirname(resolve(file)), process.cwd()]
  const cni = { packageDirs, ...said.cni, ...flags.cni } // the only part that flags have
  return parseConfig({ ...said, ...flags, cni }, `${file} and flags`)
}
