#!/usr/bin/env node
// The nodelet-runtime command.
import { realpathSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { notifyService } from '@nodelet/linux'
import { Command, Option } from 'commander'
import { ownVersion } from '../version.ts'
import { ConfigError, readConfig } from './config.ts'
import type { DaemonConfigInput } from './config.ts'
import { openDaemon } from './daemon.ts'
import { tellOnSignal } from './diagnosis.ts'
import { CommandError } from './errors.ts'
import { openLog } from './log.ts'

interface Flags {
  config?: string
  root?: string
  run?: string
  listen?: string
  cniConfDir?: string
  cniBinDir?: string[]
  streamAddress?: string
  streamPort?: number
  logLevel?: string
}

const portOf = (text: string): number => Number(text)
const also = (value: string, before: string[] = []): string[] => [...before, value]

/** The command line. */
export async function createCli(): Promise<Command> {
  return new Command('nodelet-runtime')
    .description('A container runtime for kubelets and crictl: serves CRI v1 on a unix socket until SIGTERM.')
    .version(await ownVersion(), '-V, --version')
    .option('-c, --config <file>', 'options, YAML or JSON; flags override it')
    .option('--root <folder>', 'images and what must last (default: /var/lib/nodelet)')
    .option('--run <folder>', 'what a reboot may lose, a short path on a tmpfs (default: /run/nodelet)')
    .option('--listen <socket>', 'serve here (default: runtime.sock below --run)')
    .option('--cni-conf-dir <folder>', 'network lists; the first by name is the network (default: /etc/cni/net.d)')
    .option('--cni-bin-dir <folder>', 'CNI programs; may be given more than once (default: /opt/cni/bin)', also)
    .option('--stream-address <address>', 'where exec, attach and port-forward are served (default: 127.0.0.1)')
    .option('--stream-port <port>', 'default: any free one', portOf)
    .addOption(new Option('--log-level <level>', 'default: info').choices(['error', 'warn', 'info', 'debug']))
    .showHelpAfterError()
    .action(async (flags: Flags) => run(flags))
}

async function run(flags: Flags): Promise<void> {
  const config = await readConfig(flags.config, inputOf(flags))
  if (process.getuid?.() !== 0) {
    throw new CommandError('a container runtime needs root: it makes namespaces and mounts', 'run it again with sudo')
  }
  const log = openLog(config.logLevel)
  process.on('uncaughtExceptionMonitor', (err) => log.fatal({ err }, 'ended by a fault'))
  const signal = untilSignal()
  tellOnSignal(log)
  const since = performance.now()
  await using _daemon = await openDaemon(config, log)
  log.info({ listen: config.listen, pid: process.pid, ms: Math.round(performance.now() - since) }, 'serving')
  notifyService('READY=1')
  await aborted(signal)
  notifyService('STOPPING=1')
  log.info({ reason: (signal.reason as Error).message }, 'stopping; containers keep running')
}

function inputOf(flags: Flags): DaemonConfigInput {
  const { root, run: runDir, listen, cniConfDir, cniBinDir, streamAddress, streamPort, logLevel } = flags
  return {
    ...said({ root, run: runDir, listen, streamServerAddress: streamAddress, streamServerPort: streamPort }),
    ...said({ logLevel: logLevel as NonNullable<DaemonConfigInput['logLevel']> | undefined }),
    cni: said({ confDir: cniConfDir, binDirs: cniBinDir }),
  }
}

type Said<T> = { [K in keyof T]?: Exclude<T[K], undefined> }
const said = <T extends object>(flags: T): Said<T> =>
  Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) as Said<T>

/** Aborted by the first SIGINT or SIGTERM; the second ends the process at once. */
function untilSignal(): AbortSignal {
  const ending = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (ending.signal.aborted) process.exit(130)
      ending.abort(new Error(`ended by ${name}`))
    })
  }
  return ending.signal
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}

/** Runs the command line and answers the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  try {
    await (await createCli()).parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    const { message, stack } = error as Error
    if (error instanceof CommandError) console.error(`✗ ${message}\n→ ${error.remedy}`)
    else if (error instanceof ConfigError) console.error(`✗ ${message}\n→ nodelet-runtime --help tells what there is`)
    else console.error(`✗ ${process.env.NODELET_STACK ? (stack ?? message) : message}`)
    return 1
  }
}

/** How long what is still open may keep the process once its work is done, in milliseconds. */
const lingerMs = 2_000

/** The process: runs the command of its arguments, sets its exit code. */
export async function main(): Promise<void> {
  process.exitCode = await runCli(process.argv.slice(2))
  setTimeout(() => process.exit(), lingerMs).unref()
}

const isMain = process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href
if (isMain) await main()
