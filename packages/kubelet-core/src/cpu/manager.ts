// CPUs of this node: which containers have some for themselves, and which are everybody's.
import { join } from 'node:path'
import type { Container, Pod, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import type { ResourceGiver } from '../admission/admission.ts'
import type { Rejection } from '../admission/node-fit.ts'
import { isSidecar } from '../pod/actions.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { qosClass } from '../resource/qos.ts'
import { formatCpuList, ordered, parseCpuList, without } from './cpu-set.ts'
import { type CpuState, readCpuState, stateError, writeCpuState } from './state.ts'
import { takeCpus } from './take.ts'
import type { Cpu } from './topology.ts'

export interface CpuManagerOptions {
  rootDir: string
  cpus: readonly Cpu[]
  /** KubeletConfiguration `cpuManagerPolicy` and its options. */
  policy: 'none' | 'static'
  policyOptions: Readonly<Record<string, string>>
  /** KubeletConfiguration `reservedSystemCPUs`; empty: the first so many of `reservedMilliCpu`. */
  reservedCpus: string
  reservedMilliCpu: bigint
  /** What is everybody's is another now: containers without CPUs of their own are to be told. */
  poolChanged(): void
}

export interface CpuManager extends ResourceGiver {
  /** What the container may run on, as a list; undefined: the node does not say. */
  cpusetOf(podUid: string, container: string): string | undefined
  /** It has CPUs that no other has. */
  isExclusive(podUid: string, container: string): boolean
}

const knownOptions = ['full-pcpus-only', 'strict-cpu-reservation']

/** @throws RangeError naming a wrong option; Error naming a state that does not fit */
export async function openCpuManager(options: CpuManagerOptions): Promise<CpuManager> {
  const { rootDir, cpus, policy, policyOptions, poolChanged } = options
  const path = join(rootDir, 'cpu_manager_state')
  const before = await readCpuState(path)
  if (before && before.policyName !== policy) {
    throw stateError(path, `was written with the policy ${before.policyName}, which is now ${policy}`)
  }
  const all = cpus.map(({ id }) => id)
  if (policy === 'none') {
    if (!before) await writeCpuState(path, { policyName: 'none', defaultCpuSet: '', entries: {} })
    return {
      admit: async () => undefined,
      release: async () => undefined,
      cpusetOf: () => undefined,
      isExclusive: () => false,
    }
  }
  const isOn = optionsOf(policyOptions)
  const reserved = reservedOf(options, all)
  const strict = isOn('strict-cpu-reservation')
  const entries = new Map(
    Object.entries(before?.entries ?? {}).map(([uid, own]) => [uid, new Map(Object.entries(own))]),
  )
  const owned = (): number[] =>
    [...entries.values()].flatMap((own) => [...own.values()].flatMap((list) => parseCpuList(list)))
  const gone = without(owned(), all)
  if (gone.length > 0) throw stateError(path, `gives out CPUs ${formatCpuList(gone)}, which this machine has not`)
  const pool = (): number[] => without(without(all, owned()), strict ? reserved : [])
  const save = async (): Promise<void> => {
    const state: CpuState = {
      policyName: policy,
      defaultCpuSet: formatCpuList(pool()),
      entries: Object.fromEntries([...entries].map(([uid, own]) => [uid, Object.fromEntries(own)])),
    }
    await writeCpuState(path, state)
  }
  await save()

  const threadsPerCore = Math.max(...[...Map.groupBy(cpus, ({ core }) => core).values()].map((own) => own.length))
  const wholeCores = (free: readonly number[]): number[] => {
    const able = new Set(free)
    const cores = [...Map.groupBy(cpus, ({ core }) => core).values()]
    return cores.filter((core) => core.every(({ id }) => able.has(id))).flatMap((core) => core.map(({ id }) => id))
  }

  const give = (pod: Pod): Rejection | undefined => {
    const uid = pod.metadata?.uid ?? ''
    const own = entries.get(uid) ?? new Map<string, string>()
    /** Of init containers that have ended when the next one starts. */
    let reusable: number[] = []
    const inits = pod.spec?.initContainers ?? []
    for (const container of [...inits, ...(pod.spec?.containers ?? [])]) {
      const count = exclusiveCpus(pod, container)
      if (count === 0) continue
      const known = own.get(container.name)
      const free = without(pool(), reserved)
      const able = ordered([...free, ...reusable])
      const usable = isOn('full-pcpus-only') ? wholeCores(able) : able
      const refused = known === undefined && isOn('full-pcpus-only') && misaligned(count, threadsPerCore, usable.length)
      if (refused) return refused
      const again = takeCpus(cpus, reusable, Math.min(count, reusable.length)) ?? []
      const more = takeCpus(cpus, without(usable, again), count - again.length)
      const taken = known === undefined ? more && ordered([...again, ...more]) : parseCpuList(known)
      if (!taken) {
        const message = 'Allocate failed due to not enough cpus available to satisfy request, which is unexpected'
        return { reason: 'UnexpectedAdmissionError', message }
      }
      own.set(container.name, formatCpuList(taken))
      entries.set(uid, own)
      const passing = inits.includes(container) && !isSidecar(container)
      reusable = passing ? ordered([...reusable, ...taken]) : without(reusable, taken)
    }
    return undefined
  }

  return {
    async admit(pod) {
      const uid = pod.metadata?.uid ?? ''
      const had = entries.has(uid)
      const poolBefore = formatCpuList(pool())
      const refused = give(pod)
      if (refused && !had) entries.delete(uid)
      if (formatCpuList(pool()) === poolBefore) return refused
      await save()
      poolChanged()
      return refused
    },
    async release(podUid) {
      if (!entries.delete(podUid)) return
      await save()
      poolChanged()
    },
    cpusetOf: (podUid, container) => entries.get(podUid)?.get(container) ?? formatCpuList(pool()),
    isExclusive: (podUid, container) => entries.get(podUid)?.has(container) ?? false,
  }
}

function optionsOf(options: Readonly<Record<string, string>>): (name: string) => boolean {
  for (const [name, value] of Object.entries(options)) {
    if (!knownOptions.includes(name)) {
      throw new RangeError(`cpuManagerPolicyOptions.${name}: is not supported; there are ${knownOptions.join(' and ')}`)
    }
    if (value !== 'true' && value !== 'false') {
      throw new RangeError(`cpuManagerPolicyOptions.${name} ${JSON.stringify(value)}: must be true or false`)
    }
  }
  return (name) => options[name] === 'true'
}

function reservedOf({ cpus, reservedCpus, reservedMilliCpu }: CpuManagerOptions, all: readonly number[]): number[] {
  const named = parseCpuList(reservedCpus, 'reservedSystemCPUs')
  const unknown = without(named, all)
  if (unknown.length > 0) throw new RangeError(`reservedSystemCPUs: this machine has no CPUs ${formatCpuList(unknown)}`)
  if (named.length > 0) return named
  const count = Number((reservedMilliCpu + 999n) / 1000n)
  const reserved = count > 0 ? takeCpus(cpus, all, count) : undefined
  if (!reserved) {
    throw new RangeError(
      'cpuManagerPolicy "static": needs CPUs to be reserved: kubeReserved.cpu, systemReserved.cpu or reservedSystemCPUs must be more than 0, and less than the machine has',
    )
  }
  return reserved
}

function misaligned(count: number, threads: number, available: number): Rejection | undefined {
  if (count % threads !== 0) {
    const message = `SMT Alignment Error: requested ${count} cpus not multiple cpus per core = ${threads}`
    return { reason: 'SMTAlignmentError', message }
  }
  if (count <= available) return undefined
  const message = `SMT Alignment Error: not enough free physical CPUs: available physical CPUs = ${available}, requested CPUs = ${count}, CPUs per core = ${threads}`
  return { reason: 'SMTAlignmentError', message }
}

type PodLevel = { resources?: ResourceRequirements }

/** So many CPUs a container has for itself: of Guaranteed pods, those that ask for whole ones. */
function exclusiveCpus(pod: Pod, { resources }: Container): number {
  if (qosClass(pod) !== 'Guaranteed' || (pod.spec as PodLevel | undefined)?.resources) return 0
  const milli = parseMilliQuantity(resources?.limits?.['cpu'] ?? '0', 'limits.cpu')
  return milli % 1000n === 0n ? Number(milli / 1000n) : 0
}
