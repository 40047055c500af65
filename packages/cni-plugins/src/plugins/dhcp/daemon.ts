// `nodelet-cni dhcp daemon`: holds the leases of all pods whose plugin is a program, with the reference daemon's options.
import { rm, writeFile } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { parseArgs } from 'node:util'
import { leaseDefaults, openLeases } from './leases.ts'
import { defaultSocketPath } from './remote.ts'
import { serveLeases } from './server.ts'
import type { Listening } from './server.ts'

export interface DaemonOptions {
  /** Empty: none. */
  pidFile: string
  /** Where paths of namespaces and of the socket begin. */
  hostPrefix: string
  socketPath: string
  broadcast: boolean
  timeoutMs: number
  resendMaxMs: number
  resendTimeoutMs: number
}

const inSeconds = (ms: number): string => `${ms / 1000}s`
const usage = `Usage: nodelet-cni dhcp daemon [-pidfile PATH] [-hostprefix PATH] [-socketpath PATH] [-broadcast]
       [-timeout DURATION] [-resendmax DURATION] [-resendtimeout DURATION]
`

/** Options as Go's programs take them: one dash or two. @throws naming what is wrong */
export function parseDaemonOptions(args: readonly string[]): DaemonOptions {
  const text = (value: string) => ({ type: 'string', default: value }) as const
  const { values } = parseArgs({
    args: args.map((arg) => arg.replace(/^-(?=[^-])/, '--').replace(/^(--broadcast)=true$/, '$1')),
    options: {
      pidfile: text(''),
      hostprefix: text(''),
      socketpath: text(defaultSocketPath),
      broadcast: { type: 'boolean', default: false },
      timeout: text(inSeconds(leaseDefaults.timeoutMs)),
      resendmax: text(inSeconds(leaseDefaults.resendMaxMs)),
      resendtimeout: text(inSeconds(leaseDefaults.resendTimeoutMs)),
    },
  })
  const { pidfile: pidFile, hostprefix: hostPrefix, socketpath: socketPath, broadcast } = values
  if (pidFile !== '' && !isAbsolute(pidFile)) throw new Error(`Error writing pidfile "${pidFile}": path not absolute`)
  return {
    pidFile,
    hostPrefix,
    socketPath,
    broadcast,
    timeoutMs: durationMs('timeout', values.timeout),
    resendMaxMs: durationMs('resendmax', values.resendmax),
    resendTimeoutMs: durationMs('resendtimeout', values.resendtimeout),
  }
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** As Go writes it, for instance `1m30s`. */
function durationMs(name: string, text: string): number {
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) {
    throw new Error(`-${name}: ${JSON.stringify(text)} is not a duration such as 10s or 1m30s`)
  }
  const parts = text.matchAll(/([\d.]+)(\D+)/g)
  return [...parts].reduce((sum, [, number, unit = '']) => sum + Number(number) * (unitMs[unit] ?? 0), 0)
}

/** Until SIGTERM or SIGINT. Leases stay: the next daemon goes on with them. */
export async function runDaemon(args: readonly string[]): Promise<void> {
  let options: DaemonOptions
  try {
    options = parseDaemonOptions(args)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}`)
    process.exitCode = 1
    return
  }
  const { pidFile, socketPath, hostPrefix, ...rest } = options
  const path = `${hostPrefix}${socketPath}`
  const log = { warn: (fields: object, message: string) => console.error(message, fields) }
  await using leases = openLeases({ ...rest, hostPrefix, folder: `${path}.leases`, log })
  const ended = new AbortController()
  const end = (): void => ended.abort()
  process.once('SIGTERM', end).once('SIGINT', end)
  if (pidFile !== '') await writeFile(pidFile, String(process.pid))
  try {
    await serveLeases(leases, listening(path), ended.signal)
  } finally {
    if (pidFile !== '') await rm(pidFile, { force: true })
  }
}

/** The first descriptor after those of input and output. @see sd_listen_fds(3) */
const firstPassed = 3

/** Where systemd has a socket for us, that. */
function listening(path: string): Listening {
  const { LISTEN_PID, LISTEN_FDS = '0' } = process.env
  if (LISTEN_PID !== String(process.pid) || LISTEN_FDS === '0') return { path }
  if (LISTEN_FDS !== '1') throw new Error(`Too many (${LISTEN_FDS}) FDs passed through socket activation`)
  return { fd: firstPassed }
}
