// Where the pods of this node come from: a folder, a URL, the API server.
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { apiSource } from '../source/api.ts'
import { manifestsSource } from '../source/manifests.ts'
import type { PodSource } from '../source/source.ts'
import { urlSource } from '../source/url.ts'

export interface SourceParts {
  nodeName: string
  configuration: KubeletConfiguration
  client: KubeClient | undefined
  events: EventRecorder
  clock: Clock
  log: Logger
}

/** Those that the configuration names; nothing is read yet. */
export function podSources({ nodeName, configuration, client, events, clock, log }: SourceParts): PodSource[] {
  const { staticPodPath: folder, staticPodURL: url, staticPodURLHeader: headers } = configuration
  const duplicateIn =
    (source: string) =>
    (pod: Pod): void => {
      const { name, namespace } = pod.metadata ?? {}
      const message = `Error validating pod ${name}_${namespace} from ${source} due to duplicate pod name "${name}", ignoring`
      events.record(pod, { type: 'Warning', reason: 'FailedValidation', message })
    }
  const sources: PodSource[] = []
  if (folder) {
    const checkMs = parseDuration(configuration.fileCheckFrequency)
    sources.push(manifestsSource({ folder, nodeName, checkMs, duplicate: duplicateIn('file'), clock, log }))
  }
  if (url) {
    const checkMs = parseDuration(configuration.httpCheckFrequency)
    sources.push(urlSource({ url, headers, nodeName, checkMs, duplicate: duplicateIn('http'), clock, log }))
  }
  if (client) sources.push(apiSource({ client, nodeName, log }))
  return sources
}
