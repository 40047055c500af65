// Programs that change rules: input in, output or what went wrong out.
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { finished, startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import { CniError, cniCode } from './errors.ts'

export interface RuleProgram {
  /** Whose rules; absent: this process's. */
  netns: string | undefined
  /** What it is part of, for who has to install it. */
  from: string
  /** What it says when the kernel lacks what it takes. */
  isUnusable: RegExp
}

/** After this a program that hangs is killed, in milliseconds. */
const patienceMs = 30_000

/** @throws CniError, with the code for "not available" when the program or what it takes of the kernel is not there */
export async function runRuleProgram(
  { netns, from, isUnusable }: RuleProgram,
  name: string,
  args: readonly string[],
  input?: string,
): Promise<string> {
  const child = started(name, args, netns, from)
  child.stdin?.on('error', () => undefined) // it ended early: its exit code tells
  child.stdin?.end(input)
  const { stdout, stderr, code } = await finished(child)
  if (code === 0) return stdout
  const kind = isUnusable.test(stderr) ? cniCode.notAvailable : cniCode.internal
  throw new CniError(kind, `${name} ${code === null ? 'was killed' : `failed with ${code}`}`, {
    details: explain(stderr, input),
  })
}

function started(name: string, args: readonly string[], netns: string | undefined, from: string): Program {
  try {
    return startProgram(name, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      signal: AbortSignal.timeout(patienceMs),
      ...(netns !== undefined && { netns }),
    })
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException
    const hint = code === 'ENOENT' ? `: install ${from}` : ''
    throw new CniError(cniCode.notAvailable, `cannot run ${name}: ${message}${hint}`, { cause })
  }
}

/** The programs name a line by its number. */
function explain(message: string, input: string | undefined): string {
  const number = /(?:line:? |stdin:)(\d+)/.exec(message)?.[1]
  const line = number === undefined ? undefined : input?.split('\n')[Number(number) - 1]
  return `${message.trim()}${line === undefined ? '' : ` (${line})`}`
}

/**
 * For STATUS, which comes often: nothing is started.
 *
 * @throws CniError when neither is there that the rules could be made with
 */
export function requireRuleProgram(backend?: RuleBackendName): void {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  const names = backend ? [programs[backend]] : Object.values(programs)
  if (names.some((name) => folders.some((folder) => existsSync(join(folder, name))))) return
  throw new CniError(cniCode.notAvailable, `${names.join(' and ')}: not found in ${folders.join(delimiter)}`)
}

/** What rules are made with. */
export type RuleBackendName = 'iptables' | 'nftables'
const programs: Readonly<Record<RuleBackendName, string>> = { iptables: 'iptables-restore', nftables: 'nft' }
