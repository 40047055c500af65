// The containers of a pod with their places. Pure.
import type { Container, PodSpec } from 'kubernetes-types/core/v1.d.ts'

export interface PlacedContainer {
  container: Container
  /** For instance `spec.initContainers[0]`. */
  path: string
}

const placed = (list: 'initContainers' | 'containers', containers: readonly Container[] = []): PlacedContainer[] =>
  containers.map((container, index) => ({ container, path: `spec.${list}[${index}]` }))

export const regularContainers = ({ containers }: PodSpec): PlacedContainer[] => placed('containers', containers)
export const initContainers = (spec: PodSpec): PlacedContainer[] => placed('initContainers', spec.initContainers)
export const allContainers = (spec: PodSpec): PlacedContainer[] => [...initContainers(spec), ...regularContainers(spec)]
