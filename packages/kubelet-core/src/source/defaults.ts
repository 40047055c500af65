// What the API server would fill in, for pods that never pass through one. Pure.
import type { Container, Pod, PodSpec, Probe, Volume } from 'kubernetes-types/core/v1.d.ts'
import { defaultPullPolicy } from '../pod/image-reference.ts'

/** A pod with the defaults of the API. */
export function withDefaults(pod: Pod): Pod {
  const spec = pod.spec
  if (!spec) return pod
  const filled: PodSpec = {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    enableServiceLinks: true,
    schedulerName: 'default-scheduler',
    securityContext: {},
    ...spec,
    containers: spec.containers.map(containerDefaults),
    ...(spec.initContainers && { initContainers: spec.initContainers.map(containerDefaults) }),
    ...(spec.volumes && { volumes: spec.volumes.map(volumeDefaults) }),
  }
  return { ...pod, spec: filled }
}

function containerDefaults(container: Container): Container {
  const { livenessProbe, readinessProbe, startupProbe, ports, resources } = container
  const limits = resources?.limits
  return {
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    ...container,
    imagePullPolicy: container.imagePullPolicy ?? defaultPullPolicy(container.image ?? ''),
    ...(ports && { ports: ports.map((port) => ({ protocol: 'TCP', ...port })) }),
    ...(livenessProbe && { livenessProbe: probeDefaults(livenessProbe) }),
    ...(readinessProbe && { readinessProbe: probeDefaults(readinessProbe) }),
    ...(startupProbe && { startupProbe: probeDefaults(startupProbe) }),
    resources: { ...resources, ...(limits && { requests: { ...limits, ...resources.requests } }) },
  }
}

function probeDefaults(probe: Probe): Probe {
  return {
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
    ...probe,
    ...(probe.httpGet && { httpGet: { path: '/', scheme: 'HTTP', ...probe.httpGet } }),
  }
}

function volumeDefaults(volume: Volume): Volume {
  const { name, ...source } = volume
  if (Object.keys(source).length === 0) return { name, emptyDir: {} }
  return { ...volume, ...(volume.hostPath && { hostPath: { type: '', ...volume.hostPath } }) }
}
