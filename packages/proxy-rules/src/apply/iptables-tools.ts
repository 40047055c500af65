// Finds the iptables of a machine, and chooses between its variants.
import { silentLogger, type Logger } from '../log.ts'
import type { IPFamily } from '../net/address.ts'
import { othersRules } from './cleanup.ts'
import { createIptables, UnusableIptables, type Iptables, type IptablesTool } from './iptables-restore.ts'
import { iptablesVariants, variantsInOrder, type IptablesVariant, type VariantFacts } from './iptables-variant.ts'
import { kubeletChains } from './kubelet-program.ts'
import { runProgram } from './program.ts'
import type { SavedTables } from './saved.ts'

export interface OpenIptablesOptions {
  /** A pinned network namespace; default: the own. */
  netns?: string | undefined
  /** Default: as {@link variantsInOrder} says. */
  variant?: IptablesVariant | undefined
  /** Default: looks anew. */
  find?: FindTools | undefined
  log?: Logger
}

interface FoundTool extends IptablesTool {
  isUsual: boolean
}

/** Tells what is installed for a family, whether it works or not. @throws Error when there is nothing */
export type FindTools = (family: IPFamily) => Promise<FoundTool[]>

/** Looks once for each family: three programs have to say what they are. What was not there is looked for again. */
export function createToolFinder(netns?: string): FindTools {
  const known = new Map<IPFamily, FoundTool[]>()
  return async (family) => {
    const tools = known.get(family) ?? (await findTools(family, netns))
    known.set(family, tools)
    return tools
  }
}

const oldest = [1, 6, 2]

/** @throws Error when the programs are not there or too old, or the kernel has no such tables */
export async function openIptables(
  family: IPFamily,
  { netns, variant, find = createToolFinder(netns), log = silentLogger }: OpenIptablesOptions = {},
): Promise<Iptables> {
  const tools = await find(family)
  const wanted = variant ? tools.filter((tool) => tool.variant === variant) : await toolsInOrder(tools, netns)
  if (wanted.length === 0) throw new Error(`there is no ${baseName(family)}-${variant}: install it, or use the other`)
  let failure: unknown
  for (const tool of wanted) {
    const iptables = createIptables(tool, netns)
    try {
      await iptables.probe()
      log.info({ family, variant: iptables.variant }, 'rules go to iptables')
      return iptables
    } catch (error) {
      if (!(error instanceof UnusableIptables)) throw error
      failure ??= error
    }
  }
  throw failure
}

/** Of every variant that is installed, whether it works or not. @throws Error when there is none */
export async function openAllIptables(
  family: IPFamily,
  { netns, find = createToolFinder(netns) }: Pick<OpenIptablesOptions, 'netns' | 'find'> = {},
): Promise<Iptables[]> {
  return (await find(family)).map((tool) => createIptables(tool, netns))
}

const baseName = (family: IPFamily): string => (family === 'IPv4' ? 'iptables' : 'ip6tables')

async function findTools(family: IPFamily, netns: string | undefined): Promise<FoundTool[]> {
  const name = baseName(family)
  const names = [name, ...iptablesVariants.map((variant) => `${name}-${variant}`)]
  const looks = await Promise.allSettled(names.map(async (one) => variantOf(one, netns)))
  const found: FoundTool[] = []
  for (const [index, look] of looks.entries()) {
    if (look.status === 'rejected' || found.some(({ variant }) => variant === look.value)) continue
    found.push({ family, variant: look.value, name: names[index] ?? name, isUsual: index === 0 })
  }
  const [usual] = looks
  if (found.length === 0 && usual?.status === 'rejected') throw usual.reason
  return found
}

/** @throws Error when the program is not there or too old */
async function variantOf(name: string, netns: string | undefined): Promise<IptablesVariant> {
  const version = (await runProgram(name, ['--version'], { netns })).stdout.trim()
  const numbers = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number)
  if (!numbers || isOlder(numbers)) throw new Error(`${name} is ${JSON.stringify(version)}: 1.6.2 or later is needed`)
  return version.includes('(nf_tables)') ? 'nft' : 'legacy'
}

function isOlder(version: readonly number[]): boolean {
  const index = oldest.findIndex((part, at) => part !== version[at])
  return index >= 0 && (version[index] ?? 0) < (oldest[index] ?? 0)
}

async function toolsInOrder(tools: readonly FoundTool[], netns: string | undefined): Promise<FoundTool[]> {
  const [usual, other] = tools
  if (!usual || !other) return [...tools]
  const facts = await factsOf(other, netns)
  // The usual one, whatever it holds; that may be much.
  if (!facts.hasKubelet && facts.others === 0) return [usual, other]
  return variantsInOrder([
    { ...usual, ...(await factsOf(usual, netns)) },
    { ...other, ...facts },
  ])
}

/** Of both families: a machine has one place for its rules. */
async function factsOf(tool: FoundTool, netns: string | undefined): Promise<Omit<VariantFacts, 'variant' | 'isUsual'>> {
  const found = await Promise.all(
    (['IPv4', 'IPv6'] as const).map(async (family) => {
      const name = tool.name.replace(baseName(tool.family), baseName(family))
      return familyFacts(createIptables({ ...tool, family, name }, netns))
    }),
  )
  return { hasKubelet: found.some((one) => one.hasKubelet), others: found.reduce((sum, { others }) => sum + others, 0) }
}

/** A variant that the kernel does not have holds nothing. */
async function familyFacts(iptables: Iptables): Promise<{ hasKubelet: boolean; others: number }> {
  try {
    // A kubelet's chain settles it: the other tables may be large.
    if (hasKubelet(await iptables.save('mangle'))) return { hasKubelet: true, others: 0 }
    return { hasKubelet: false, others: othersRules(await iptables.save()) }
  } catch {
    return { hasKubelet: false, others: 0 }
  }
}

const hasKubelet = (saved: SavedTables): boolean =>
  kubeletChains.some((chain) => saved.get('mangle')?.chains.has(chain))
