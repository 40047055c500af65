// The labels and annotations that tell, in any runtime, which container belongs to which pod; the same as the Go kubelet's.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'

export const podNameLabel = 'io.kubernetes.pod.name'
export const podNamespaceLabel = 'io.kubernetes.pod.namespace'
export const podUidLabel = 'io.kubernetes.pod.uid'
export const containerNameLabel = 'io.kubernetes.container.name'

export const hashAnnotation = 'io.kubernetes.container.hash'
export const restartCountAnnotation = 'io.kubernetes.container.restartCount'
export const terminationPathAnnotation = 'io.kubernetes.container.terminationMessagePath'
export const terminationPolicyAnnotation = 'io.kubernetes.container.terminationMessagePolicy'
export const preStopAnnotation = 'io.kubernetes.container.preStopHandler'
export const portsAnnotation = 'io.kubernetes.container.ports'
export const podDeletionGraceAnnotation = 'io.kubernetes.pod.deletionGracePeriod'
export const podGraceAnnotation = 'io.kubernetes.pod.terminationGracePeriod'

export const sourceAnnotation = 'kubernetes.io/config.source'
export const configHashAnnotation = 'kubernetes.io/config.hash'
export const seenAnnotation = 'kubernetes.io/config.seen'
export const mirrorAnnotation = 'kubernetes.io/config.mirror'

/** The three labels of everything that belongs to a pod. */
export function podLabels(pod: Pod): Record<string, string> {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
  return { [podNameLabel]: name, [podNamespaceLabel]: namespace, [podUidLabel]: uid }
}

/** Whether a pod comes from a manifest and not from the API. */
export function isStatic(pod: Pod): boolean {
  const source = pod.metadata?.annotations?.[sourceAnnotation]
  return source !== undefined && source !== 'api'
}

/** Changes when the container must be made anew: 32 bits of FNV-1a over name and image, in hex. */
export function containerHash({ name, image = '' }: Container): string {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(`${name}\0${image}`)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash.toString(16)
}

/** `name_namespace(uid)`, as messages name a pod. */
export function podTitle(pod: Pod): string {
  const { name, namespace, uid } = pod.metadata ?? {}
  return `${name}_${namespace}(${uid})`
}
