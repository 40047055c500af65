// CNI_ARGS. Pure.
import { shown } from '../checked.ts'
import { CniError, cniCode } from '../errors.ts'
import type { PodNetwork } from '../types.ts'

/** What plugins are told of a pod: the same as by other runtimes. */
export function argsOf({
  pod,
  containerId,
  args,
}: Pick<PodNetwork, 'pod' | 'containerId' | 'args'>): Record<string, string> {
  return {
    IgnoreUnknown: '1',
    ...(pod && {
      K8S_POD_NAMESPACE: pod.namespace,
      K8S_POD_NAME: pod.name,
      K8S_POD_INFRA_CONTAINER_ID: containerId,
      K8S_POD_UID: pod.uid,
    }),
    ...args,
  }
}

/** @throws CniError naming a pair that cannot be told */
export function printArgs(args: Readonly<Record<string, string>>): string {
  return Object.entries(args)
    .map(([key, value]) => {
      if (key === '' || /[=;]/.test(key + value)) throw badPair(`${key}=${value}`)
      return `${key}=${value}`
    })
    .join(';')
}

/** @throws CniError naming the pair */
export function parseArgs(text: string): Record<string, string> {
  if (text === '') return {}
  return Object.fromEntries(
    text.split(';').map((pair) => {
      const [key = '', value, ...rest] = pair.split('=')
      if (key === '' || value === undefined || rest.length > 0) throw badPair(pair)
      return [key, value]
    }),
  )
}

const badPair = (pair: string): CniError =>
  new CniError(cniCode.badEnvironment, `CNI_ARGS: invalid pair ${shown(pair)}: must be KEY=VALUE`)
