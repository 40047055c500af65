// Tables of iptables: iptables-restore in, iptables-save out; pods that change them at the same time share one run.
import { finished, startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import { CniError, cniCode } from './errors.ts'
import type { Host, RuleChange, Rules, RuleTable } from './types.ts'

interface Waiting {
  changes: readonly RuleChange[]
  done: PromiseWithResolvers<void>
}

/** How long iptables waits for another program's lock, in seconds. */
const lockSeconds = '5'
/** After this a program that hangs is killed, in milliseconds. */
const patienceMs = 30_000
/** What the programs say when the kernel has no such table. */
const isUnusable = /table does not exist|can't initialize|failed to initialize nft|not supported/i

/** @param netns whose rules; absent: this process's */
export function createRules(family: 4 | 6, netns: string | undefined): Rules {
  const prefix = family === 4 ? 'iptables' : 'ip6tables'
  let queue: Waiting[] = []
  let running = false

  const started = (program: string, args: readonly string[]): Program => {
    try {
      return startProgram(program, args, {
        stdio: ['pipe', 'pipe', 'pipe'],
        signal: AbortSignal.timeout(patienceMs),
        ...(netns !== undefined && { netns }),
      })
    } catch (cause) {
      const { message, code } = cause as NodeJS.ErrnoException
      const hint = code === 'ENOENT' ? ': install iptables' : ''
      throw new CniError(cniCode.notAvailable, `cannot run ${program}: ${message}${hint}`, { cause })
    }
  }

  const run = async (program: string, args: readonly string[], input?: string): Promise<string> => {
    const child = started(program, args)
    child.stdin?.on('error', () => undefined) // it ended early: its exit code tells
    child.stdin?.end(input)
    const { stdout: out, stderr: err, code } = await finished(child)
    if (code !== 0) {
      const kind = isUnusable.test(err) ? cniCode.notAvailable : cniCode.internal
      throw new CniError(kind, `${program} ${code === null ? 'was killed' : `failed with ${code}`}`, {
        details: explain(err, input),
      })
    }
    return out
  }

  const restore = async (parts: readonly TableLines[]): Promise<void> => {
    const input = restoreInput(parts)
    if (input !== '') await run(`${prefix}-restore`, ['--noflush', '-w', lockSeconds], input)
  }

  /** False when the table is not as they expect: nothing is changed then. */
  const asExpected = async (changes: readonly RuleChange[]): Promise<boolean> => {
    if (!changes.every(({ lines }) => lines !== undefined)) return false
    try {
      await restore(changes.map(({ table = 'nat', lines = [] }) => ({ table, lines })))
      return true
    } catch {
      return false // a look at the table tells what it takes, or what is wrong
    }
  }

  const byLook = async (changes: readonly RuleChange[]): Promise<void> => {
    const saved: Partial<Record<RuleTable, string[]>> = {}
    for (const { table = 'nat' } of changes) {
      saved[table] ??= (await run(`${prefix}-save`, ['-t', table])).split('\n')
    }
    await restore(changes.map(({ table = 'nat', from }) => ({ table, lines: from(saved[table] ?? []) })))
  }

  const drain = async (): Promise<void> => {
    running = true
    while (queue.length > 0) {
      const batch = queue
      queue = []
      const together = batch.length > 1 && (await asExpected(batch.flatMap(({ changes }) => changes)))
      for (const { changes, done } of batch) {
        const made = async (): Promise<void> => {
          if (!together && !(await asExpected(changes))) await byLook(changes)
        }
        await made().then(done.resolve, done.reject)
      }
    }
    running = false
  }

  return {
    commit: async (changes, signal) => {
      signal.throwIfAborted()
      if (changes.length === 0) return
      const done = Promise.withResolvers<void>()
      queue.push({ changes, done })
      if (!running) void drain()
      await done.promise
    },
  }
}

interface TableLines {
  table: RuleTable
  lines: readonly string[]
}

/** Each table once, its chains first; empty when there is nothing to do. */
function restoreInput(parts: readonly TableLines[]): string {
  const tables = new Set(parts.filter(({ lines }) => lines.length > 0).map(({ table }) => table))
  return [...tables]
    .map((table) => {
      const lines = parts.filter((part) => part.table === table).flatMap((part) => part.lines)
      const chains = lines.filter((line) => line.startsWith(':'))
      const rest = lines.filter((line) => !line.startsWith(':'))
      return [`*${table}`, ...new Set(chains), ...rest, 'COMMIT', ''].join('\n')
    })
    .join('')
}

/** The tool names a line by its number. */
function explain(message: string, input: string | undefined): string {
  const number = /line:? (\d+)/.exec(message)?.[1]
  const line = number === undefined ? undefined : input?.split('\n')[Number(number) - 1]
  return `${message.trim()}${line === undefined ? '' : ` (${line})`}`
}

/** What takes away all rules that name one of the chains, and the chains that are to go. */
export function removalOf(saved: readonly string[], chains: readonly string[]): string[] {
  const there = chains.filter((chain) => saved.some((line) => line.startsWith(`:${chain} `)))
  const jumps = saved.filter(
    (line) =>
      line.startsWith('-A ') &&
      there.some((chain) => line.endsWith(` -j ${chain}`) && !line.startsWith(`-A ${chain} `)),
  )
  return [
    ...there.map((chain) => `:${chain} - [0:0]`),
    ...jumps.map((line) => `-D ${line.slice(3)}`),
    ...there.map((chain) => `-X ${chain}`),
  ]
}

/**
 * Has chains and all that leads to them taken out of the tables of the families; fine when there are none.
 *
 * @param families absent: not known
 * @param linesOf what it takes when all of them are there
 */
export function removeChains(
  host: Host,
  chains: readonly string[],
  families: readonly (4 | 6)[] | undefined,
  linesOf: (family: 4 | 6) => readonly string[] | undefined,
): void {
  for (const family of families ?? ([4, 6] as const)) {
    const lines = families && linesOf(family)
    host.changeRules(family, {
      from: (saved) => removalOf(saved, chains),
      isGuess: !families,
      ...(lines && { lines }),
    })
  }
}
