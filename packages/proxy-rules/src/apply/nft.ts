// Runs the program nft: a transaction for each text, and a look at what the table is made of.
import { release } from 'node:os'
import { openNetlink } from '@nodelet/linux'
import type { IPFamily } from '../net/address.ts'
import { tableName } from '../nftables/names.ts'
import { cleanupText, probeText } from '../nftables/text.ts'
import type { TextPiece } from '../text-chunks.ts'
import { runProgram } from './program.ts'

/** A chain, set or map of the table. */
export interface NftObject {
  kind: 'chain' | 'set' | 'map'
  name: string
}

/** The table of one family in one network namespace. */
export interface Nft {
  family: IPFamily
  /** Loads a text, in one string or in pieces: all of it or nothing. @throws Error with the first lines that were refused */
  run(text: string | readonly TextPiece[]): Promise<void>
  /** Names of all that the table holds; none when it is not there. */
  objects(): Promise<NftObject[]>
  /** Whether somebody has removed the table or its rules; undefined when the kernel did not tell. */
  isFlushed(): Promise<boolean | undefined>
}

const oldestNft = [1, 0, 1]
/** Before, numbers and maps in rules did not work together. */
const oldestKernel = [5, 13]
const skipKernelCheck = 'KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK'
/** A whole load of a large cluster. */
const loadTimeoutMs = 180_000
/** Errors that are told, each with its line and a mark below. */
const mostErrors = 3

/** @throws Error when the program is not there or too old, or the kernel is */
export async function openNft(family: IPFamily, netns?: string): Promise<Nft> {
  const run = (args: readonly string[], input: string | readonly TextPiece[] = []) =>
    runProgram('nft', args, { netns, input, timeoutMs: loadTimeoutMs })
  const version = (await run(['--version'])).stdout.trim()
  if (isOlder(numbersOf(version), oldestNft))
    throw new Error(`nft is ${JSON.stringify(version)}: 1.0.1 or later is needed`)
  if (isOlder(numbersOf(release()), oldestKernel) && !process.env[skipKernelCheck])
    throw new Error(`the kernel is ${release()}: 5.13 or later is needed for nftables`)
  const ip = family === 'IPv4' ? 'ip' : 'ip6'
  const probe = await run(['-j', '-t', 'list', 'sets', ip])
  if (probe.code !== 0) throw new Error(`nft cannot list sets (${probe.stderr.trim()}): needs root and nf_tables`)
  return {
    family,
    run: async (text) => {
      const { code, stderr } = await run(['-f', '-'], text)
      if (code !== 0) throw new Error(`nft failed with ${code}: ${firstErrors(stderr)}`)
    },
    objects: async () => {
      const found: NftObject[] = []
      for (const kind of ['chain', 'set', 'map'] as const) {
        const { code, stdout, stderr } = await run(['-j', '-t', 'list', `${kind}s`, ip])
        if (code !== 0) throw new Error(`nft list ${kind}s failed with ${code}: ${firstErrors(stderr)}`)
        found.push(...parseObjects(stdout, kind))
      }
      return found
    },
    isFlushed: async () => {
      // Almost all else that nft can be asked for makes it read the whole table first: more than a second in large clusters.
      const { code, stderr } = await run(['-c', '-f', '-'], probeText(family))
      if (code === 0 || stderr.includes('No such file or directory')) return true
      return stderr.includes('Device or resource busy') ? false : undefined
    },
  }
}

/** Removes our table of a family where it is there. @throws Error when that is refused, or there is no program nft */
export async function removeTable(family: IPFamily, netns?: string): Promise<void> {
  using netlink = openNetlink({ netns })
  if (!(await netlink.nftables.hasTable(family === 'IPv4' ? 'ip' : 'ip6', tableName))) return
  await (await openNft(family, netns)).run(cleanupText(family))
}

function numbersOf(version: string): number[] {
  return (
    /(\d+)\.(\d+)(?:\.(\d+))?/
      .exec(version)
      ?.slice(1)
      .map((part) => Number(part ?? 0)) ?? []
  )
}

function isOlder(version: readonly number[], oldest: readonly number[]): boolean {
  const index = oldest.findIndex((part, at) => part !== version[at])
  return index >= 0 && (version[index] ?? 0) < (oldest[index] ?? 0)
}

/** What of our table `nft -j list` names. */
function parseObjects(text: string, kind: NftObject['kind']): NftObject[] {
  const { nftables } = JSON.parse(text) as { nftables: Record<string, { name: string; table: string } | undefined>[] }
  return nftables.flatMap((entry) => {
    const object = entry[kind]
    return object?.table === tableName ? [{ kind, name: object.name }] : []
  })
}

/** nft tells of every line that it refuses: the first ones say enough. */
function firstErrors(stderr: string): string {
  const errors = stderr.trim().split(/\n(?=\S*:\d+:\d+-\d+: )/)
  const more = errors.length > mostErrors ? [`and ${errors.length - mostErrors} more`] : []
  return [...errors.slice(0, mostErrors), ...more].join('\n')
}
