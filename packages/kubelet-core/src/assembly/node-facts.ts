// What the Node object tells of this node.
import type { ImageService, VersionResponse } from '@nodelet/cri-api'
import type { KubeletOptions } from '../config.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { kubeletVersion } from '../kubelet-version.ts'
import type { MachineFacts } from '../node/facts.ts'
import { nodeImages } from '../node/images.ts'
import type { NodeObjectFacts } from '../node/node-object.ts'
import type { RuntimeHealth } from '../node/runtime-health.ts'

export interface NodeFactsOptions {
  options: Pick<KubeletOptions, 'nodeName' | 'nodeIPs' | 'nodeLabels'>
  configuration: KubeletConfiguration
  machine: MachineFacts
  version: VersionResponse
  imageService: ImageService
  health: RuntimeHealth
}

/** All but what changes with the kubelet's own parts. */
export async function nodeFactsOf({
  options,
  configuration,
  machine,
  version,
  imageService,
  health,
}: NodeFactsOptions): Promise<Omit<NodeObjectFacts, 'previous' | 'nowMs' | 'pressure' | 'port'>> {
  return {
    nodeName: options.nodeName,
    nodeIPs: options.nodeIPs,
    machine,
    configuration,
    labels: options.nodeLabels,
    runtimeVersion: `${version.runtimeName}://${version.runtimeVersion}`,
    kubeletVersion,
    images: await nodeImages(imageService, configuration.nodeStatusMaxImages),
    runtimeHandlers: (health.answer()?.runtimeHandlers ?? []).map(({ name, features }) => ({
      name,
      features: {
        recursiveReadOnlyMounts: features?.recursiveReadOnlyMounts ?? false,
        userNamespaces: features?.userNamespaces ?? false,
      },
    })),
    features: featuresOf(health),
    problems: health.problems(),
  }
}

const featuresOf = (health: RuntimeHealth): NodeObjectFacts['features'] => {
  const features = health.answer()?.features
  return features && { supplementalGroupsPolicy: features.supplementalGroupsPolicy }
}
