// Runs packets through an nftables program.
import { createLedger } from '../nftables/ledger.ts'
import type { Chain, Container, Element, NftablesProgram } from '../nftables/program.ts'
import { parseNftablesRule, readVerdict, type RuleSurroundings, type Step, type Verdict } from './nftables-rule.ts'
import type { InFlight, PassedRule } from './packet.ts'
import { entersNat, type Machine, type Refusal, type Surroundings } from './path.ts'

interface LoadedChain extends Pick<Chain, 'name' | 'rules' | 'hook'> {
  ip: 'ip' | 'ip6'
  /** Read when a packet first comes by: most rules of a large program never see one. */
  parsed?: (readonly Step[])[]
}

interface LoadedContainer extends Pick<Container, 'name' | 'kind' | 'timeoutSeconds'> {
  elements: Map<string, Element>
}

interface Table {
  chains: Map<string, LoadedChain>
  /** In the order in which the kernel asks them. */
  baseChains: readonly LoadedChain[]
  containers: Map<string, LoadedContainer>
}

function found<T>(objects: ReadonlyMap<string, T>, name: string): T {
  const object = objects.get(name)
  if (!object) throw new Error(`nftables program: nothing there is named ${name}`)
  return object
}

/** The program in an empty kernel. */
function load(program: NftablesProgram): Table {
  const { chains, containers, additions } = createLedger().update(program)
  const ip = program.family === 'IPv4' ? 'ip' : 'ip6'
  const loadedChains = new Map(
    chains.map(({ name, rules, hook }): [string, LoadedChain] => [name, { name, rules, ip, ...(hook && { hook }) }]),
  )
  const empty = containers.map((one) => [one.name, { ...one, elements: new Map<string, Element>() }] as const)
  const loadedContainers = new Map<string, LoadedContainer>(empty)
  for (const element of additions) found(loadedContainers, element.container).elements.set(element.key, element)
  const priority = ({ hook }: LoadedChain): number => hook?.priority ?? 0
  const baseChains = [...loadedChains.values()].filter(({ hook }) => hook).sort((a, b) => priority(a) - priority(b))
  return { chains: loadedChains, baseChains, containers: loadedContainers }
}

/** Affinity sets are filled by packets: they hold whom the traced packet says. */
function isRemembered({ chains }: Table, set: string, { remembered }: InFlight): boolean {
  const { rules } = found(chains, set.replace(/^affinity-/, 'endpoint-'))
  return remembered !== undefined && rules.some((rule) => rule.endsWith(` dnat to ${remembered}`))
}

export function nftablesMachine(program: NftablesProgram): Machine {
  const table = load(program)
  return {
    family: program.family,
    run: (hook, packet, surroundings) => {
      for (const chain of table.baseChains) {
        if (chain.hook?.hook !== hook || (chain.hook.type === 'nat' && !entersNat(hook, packet))) continue
        const refused = walk(table, chain, packet, surroundings)
        if (refused && refused !== 'accept') return refused
      }
      return undefined
    },
  }
}

/** Undefined when the chain, and those that it went to, have come to their end. */
function walk(
  table: Table,
  chain: LoadedChain,
  packet: InFlight,
  surroundings: Surroundings,
): Refusal | 'accept' | undefined {
  chain.parsed ??= chain.rules.map((rule) => parseNftablesRule(rule, chain.ip))
  for (const [index, steps] of chain.parsed.entries()) {
    const passed: PassedRule = { chain: chain.name, rule: chain.rules[index] ?? '' }
    const outcome = runSteps(steps, packet, { ...surroundings, ...storesOf(table, passed) })
    if (outcome === false) continue
    packet.passed.push(passed)
    if (outcome === true) continue
    if (!('chain' in outcome)) return outcome.kind
    const end = walk(table, found(table.chains, outcome.chain), packet, surroundings)
    if (end || outcome.kind === 'goto') return end
  }
  return undefined
}

function storesOf(table: Table, passed: PassedRule): Pick<RuleSurroundings, 'holds' | 'lookUp'> {
  return {
    holds: (name, key, packet) => {
      const { timeoutSeconds, elements } = found(table.containers, name)
      return timeoutSeconds === undefined ? elements.has(key) : isRemembered(table, name, packet)
    },
    lookUp: (name, key) => {
      const verdict = found(table.containers, name).elements.get(key)?.verdict
      if (verdict === undefined) return undefined
      passed.element = `${key} : ${verdict}`
      return readVerdict(verdict)
    },
  }
}

function runSteps(steps: readonly Step[], packet: InFlight, surroundings: RuleSurroundings): boolean | Verdict {
  for (const step of steps) {
    const outcome = step(packet, surroundings)
    if (outcome !== true) return outcome
  }
  return true
}
