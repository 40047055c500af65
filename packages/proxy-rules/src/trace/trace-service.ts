// What a compiled program does with a packet.
import type { IptablesProgram } from '../iptables/program.ts'
import type { IpvsProgram } from '../ipvs/program.ts'
import type { NftablesProgram } from '../nftables/program.ts'
import type { NodeFacts } from '../node/facts.ts'
import { iptablesMachine } from './iptables-machine.ts'
import { ipvsMachine } from './ipvs-machine.ts'
import { nftablesMachine } from './nftables-machine.ts'
import { launch, type Packet, type PassedRule } from './packet.ts'
import { follow, localAddresses, type Machine, type Refusal } from './path.ts'
import { allWays, wayAt, type Choose, type Way } from './ways.ts'

/** What becomes of a packet. */
export interface Outcome {
  /** `accept` when no rule of the program refuses it. */
  verdict: 'accept' | Refusal
  /** Where it goes instead; undefined when it is refused or goes on as it is. */
  translation: { address: string; port: number } | undefined
  /** Whether it leaves with an address of the node as its source; false when it is refused. */
  masquerade: boolean
}

/** One of the ways of a packet through a program. */
export interface Trace extends Outcome {
  /** 0 to 1. */
  probability: number
  /** Those whose matches held, in their order. */
  rules: readonly PassedRule[]
}

/** How random choices fall. */
export interface TraceOptions {
  /**
   * `all` gives every way that has a chance. A number from 0 to less than 1 gives the one way that it falls on when all stand
   * in their order, each as wide as it is probable. Default `all`.
   */
  choice?: 'all' | number
}

/** What a compiler makes. */
export type Program = IptablesProgram | NftablesProgram | IpvsProgram

const machines = new WeakMap<Program, Machine>()

function machineOf(program: Program): Machine {
  const known = machines.get(program)
  if (known) return known
  const machine = makeMachine(program)
  machines.set(program, machine)
  return machine
}

function makeMachine(program: Program): Machine {
  if ('tables' in program) return iptablesMachine(program)
  return 'glue' in program ? ipvsMachine(program) : nftablesMachine(program)
}

/**
 * Executes a whole program, and the jumps that lead into it, on a packet; other rules of the machine are not known here. Nothing
 * is asked of a kernel. The program must stay as it is: what is read of it is kept for the next packet.
 *
 * @param node its interfaces say which addresses are local
 * @throws RangeError for a malformed packet or choice, or a program that is not whole
 * @throws Error for a rule that the tracer does not know
 */
export function traceService(
  program: Program,
  packet: Packet,
  node: Pick<NodeFacts, 'interfaces'>,
  { choice = 'all' }: TraceOptions = {},
): Trace[] {
  if (choice !== 'all' && !(choice >= 0 && choice < 1))
    throw new RangeError(`choice: ${choice} is neither all nor a number from 0 to less than 1`)
  const machine = machineOf(program)
  const isLocal = localAddresses(node)
  const run = (choose: Choose): Omit<Trace, 'probability'> => {
    const inFlight = launch(packet, program.family)
    const refusal = follow(machine, inFlight, { isLocal, choose })
    const { destination, destinationPort, isTranslated, isMasqueraded, passed } = inFlight
    const isRedirected = isTranslated && !refusal
    return {
      verdict: refusal ?? 'accept',
      translation: isRedirected ? { address: destination.text, port: destinationPort } : undefined,
      masquerade: isMasqueraded && !refusal,
      rules: passed,
    }
  }
  const ways: Way<Omit<Trace, 'probability'>>[] = choice === 'all' ? allWays(run) : [wayAt(choice, run)]
  return ways.map(({ probability, result }) => ({ probability, ...result }))
}
