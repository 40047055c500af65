// The topology settings of a KubeletConfiguration. Pure.
import type { KubeletConfiguration } from '../configuration/types.ts'
import type { TopologyRules } from './hints.ts'
import type { NumaNode } from './numa.ts'

type Settings = Pick<KubeletConfiguration, 'topologyManagerPolicy' | 'topologyManagerPolicyOptions'>

const preferName = 'prefer-closest-numa-nodes'
const mostName = 'max-allowable-numa-nodes'
const names = [preferName, mostName]
const defaultMostNodes = 8

/** @throws RangeError naming a wrong option, or a machine that is too large */
export function topologyRules(settings: Settings, nodes: readonly NumaNode[]): TopologyRules {
  const { topologyManagerPolicy: policy, topologyManagerPolicyOptions: options } = settings
  const wrong = (name: string, why: string): RangeError =>
    new RangeError(`topologyManagerPolicyOptions.${name} ${JSON.stringify(options[name])}: ${why}`)
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw wrong(name, `there are ${names.join(' and ')}`)
  }
  const closest = options[preferName] ?? 'false'
  if (closest !== 'true' && closest !== 'false') throw wrong(preferName, 'must be true or false')
  const most = Number(options[mostName] ?? defaultMostNodes)
  if (!Number.isInteger(most) || most < defaultMostNodes) {
    throw wrong(mostName, `must be a number, at least ${defaultMostNodes}`)
  }
  if (policy !== 'none' && nodes.length > most) {
    throw new RangeError(
      `topologyManagerPolicy ${JSON.stringify(policy)}: this machine has ${nodes.length} NUMA nodes, more than the ${most} of max-allowable-numa-nodes`,
    )
  }
  return { policy, nodes, preferClosest: closest === 'true' }
}
