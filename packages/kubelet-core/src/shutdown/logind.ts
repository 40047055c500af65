// systemd-logind: a shutdown that waits for us, and the news of it. By systemd's own programs, which are its interface.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { type Program, startProgram } from '@nodelet/linux'

/** Holds back shutdowns until it is released. */
export interface Inhibitor {
  release(): Promise<void>
}

/** What a shutdown manager asks of the system. */
export interface Logind {
  /** @throws Error when there is no logind */
  inhibit(): Promise<Inhibitor>
  /** How long a shutdown waits at most, in milliseconds. @throws Error when there is no logind */
  longestDelayMs(signal: AbortSignal): Promise<number>
  /** Has shutdowns wait so long from now on, in milliseconds, also after a boot. @throws Error when that cannot be */
  raiseDelay(ms: number, signal: AbortSignal): Promise<void>
  /** Ends with the signal. `true`: a shutdown begins; `false`: it was called off. */
  shutdowns(signal: AbortSignal): AsyncIterable<boolean>
}

const dropIn = '/etc/systemd/logind.conf.d/99-kubelet.conf'
const manager = 'org.freedesktop.login1.Manager'
const place = ['org.freedesktop.login1', '/org/freedesktop/login1', manager]

/** @param env of the programs, for another bus than the system's; default: this process's */
export function systemLogind(env: NodeJS.ProcessEnv = process.env): Logind {
  return {
    async inhibit() {
      const why = '--why=Kubelet needs time to handle node shutdown'
      const args = ['--what=shutdown', '--mode=delay', '--who=kubelet', why, '--', 'sh', '-c', 'echo held; exec cat']
      const program = startProgram('systemd-inhibit', args, { env, stdio: ['pipe', 'pipe', 'pipe'] })
      // Once its own program runs, the lock is held.
      for await (const _line of lines(program)) return { release: async () => letGo(program) }
      throw await failure(program, 'systemd-inhibit')
    },
    async longestDelayMs(signal) {
      const args = ['--system', 'get-property', ...place, 'InhibitDelayMaxUSec']
      const program = startProgram('busctl', args, { env, stdio: ['ignore', 'pipe', 'pipe'], signal })
      for await (const line of lines(program)) {
        const [, microseconds] = /^t (\d+)$/.exec(line) ?? []
        if (microseconds !== undefined) return Number(microseconds) / 1000
      }
      throw await failure(program, 'busctl get-property')
    },
    async raiseDelay(ms, signal) {
      const seconds = Math.ceil(ms / 1000)
      await mkdir(dirname(dropIn), { recursive: true })
      await writeFile(dropIn, `# Written by the kubelet.\n[Login]\nInhibitDelayMaxSec=${seconds}\n`)
      const bus = ['org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus']
      const args = ['--system', 'call', ...bus, 'GetConnectionUnixProcessID', 's', 'org.freedesktop.login1']
      const program = startProgram('busctl', args, { env, stdio: ['ignore', 'pipe', 'pipe'], signal })
      for await (const line of lines(program)) {
        const [, pid] = /^u (\d+)$/.exec(line) ?? []
        // It reads its configuration anew.
        if (pid !== undefined) return void process.kill(Number(pid), 'SIGHUP')
      }
      throw await failure(program, 'busctl call')
    },
    async *shutdowns(signal) {
      const match = `type='signal',interface='${manager}',member='PrepareForShutdown'`
      const args = ['--system', 'monitor', '--json=short', `--match=${match}`]
      const program = startProgram('busctl', args, { env, stdio: ['ignore', 'pipe', 'pipe'], signal })
      for await (const line of lines(program)) {
        const begins = shutdownIn(line)
        if (begins !== undefined) yield begins
      }
      if (!signal.aborted) throw await failure(program, 'busctl monitor')
    },
  }
}

/** What a line of the monitor tells; undefined for anything else. */
export function shutdownIn(line: string): boolean | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const { member, payload } = JSON.parse(line) as { member?: unknown; payload?: { data?: unknown[] } }
    const [begins] = payload?.data ?? []
    return member === 'PrepareForShutdown' && typeof begins === 'boolean' ? begins : undefined
  } catch {
    // The monitor also tells of itself, in words.
    return undefined
  }
}

const lines = (program: Program): AsyncIterable<string> =>
  createInterface({ input: program.stdout ?? process.stdin, crlfDelay: Infinity })

async function letGo(program: Program): Promise<void> {
  program.stdin?.end()
  await program.ended
}

async function failure(program: Program, what: string): Promise<Error> {
  const parts = (await program.stderr?.toArray()) ?? []
  const { code } = await program.ended
  return new Error(`${what} ended with exit code ${code}: ${parts.join('').trim()}`)
}
