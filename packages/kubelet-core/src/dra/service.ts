// Versions of the DRA service, which plugins list by the names of their services.
import { DRAPluginService } from '../gen/dra.ts'

/** Of `k8s.io.kubelet.pkg.apis.dra`, newest first; all have the same messages. */
const versions = ['v1', 'v1beta1'] as const
export type DraVersion = (typeof versions)[number]

const nameOf = (version: DraVersion): string => `${version}.DRAPlugin`

/** As a plugin lists them. */
export const draServices: readonly string[] = versions.map(nameOf)

/** The newest that both sides know. @throws Error naming what either has */
export function chooseVersion(offered: readonly string[]): DraVersion {
  const chosen = versions.find((version) => offered.includes(nameOf(version)))
  if (chosen) return chosen
  const listOf = (services: readonly string[]): string => services.map((one) => JSON.stringify(one)).join(' ')
  throw new Error(
    `none of services supported by the plugin ([${listOf(offered)}]) are supported by the kubelet ([${listOf(draServices)}])`,
  )
}

type Service = typeof DRAPluginService
type Versioned<Method> = Omit<Method, 'path'> & { path: string }

/** The service as this version has it. */
export function draService(version: DraVersion): { [Method in keyof Service]: Versioned<Service[Method]> } {
  const at = <Method extends { path: string }>(method: Method): Versioned<Method> => ({
    ...method,
    path: method.path.replace('.v1.', `.${version}.`),
  })
  return {
    nodePrepareResources: at(DRAPluginService.nodePrepareResources),
    nodeUnprepareResources: at(DRAPluginService.nodeUnprepareResources),
  }
}

/** All versions, for a server. */
export const draVersions: readonly DraVersion[] = versions
