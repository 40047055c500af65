// The whole OCI spec as one function of data.
import type { ContainerConfig, PodSandboxConfig } from '@nodelet/cri-api'
import { checkSelinuxOptions, labelsFor } from '../selinux/labels.ts'
import { applyEdits } from './edits.ts'
import { SpecError } from './errors.ts'
import type { ContainerFacts, HandlerFacts, HostFacts, ImageConfig, SandboxFacts } from './facts.ts'
import { buildMounts } from './mounts.ts'
import { buildNamespaces } from './namespaces.ts'
import type { OciSpec } from './oci.ts'
import { buildProcess } from './process.ts'
import { cgroupsPath } from './cgroup-path.ts'
import { buildDevices, buildResources } from './resources.ts'
import { buildSeccomp } from './seccomp.ts'
import { ociIdMappings } from './user-namespace.ts'

/** What `buildSpec` reads. */
export interface SpecInput {
  container: ContainerConfig
  sandbox: PodSandboxConfig
  image: ImageConfig
  facts: { container: ContainerFacts; sandbox: SandboxFacts; host: HostFacts; handler?: HandlerFacts }
}

/**
 * Builds config.json for a container in a pod. Pure: the same input gives the same spec.
 *
 * @throws SpecError when the configuration asks for what this machine or this runtime cannot give.
 */
export function buildSpec({ container, sandbox, image, facts }: SpecInput): OciSpec {
  const security = container.linux?.securityContext
  const privileged = security?.privileged ?? false
  if (privileged && !sandbox.linux?.securityContext?.privileged) {
    throw new SpecError('no privileged container allowed in sandbox: the sandbox was not made privileged')
  }
  checkSelinuxOptions(security?.selinuxOptions)
  const user = facts.sandbox.userNamespace
  const labels = facts.sandbox.selinux && labelsFor(facts.sandbox.selinux, security?.selinuxOptions)
  const process = buildProcess(container, image, facts, privileged ? undefined : labels?.process)
  const { devices, rules } = buildDevices(
    container,
    { privileged, withoutHostDevices: facts.handler?.privilegedWithoutHostDevices ?? false },
    facts.container,
  )
  const { mounts, rootfsPropagation } = buildMounts(container, facts)
  const seccomp = buildSeccomp(security, process.capabilities.bounding, facts.container, facts.host)
  const spec: OciSpec = {
    ociVersion: '1.0.2',
    process,
    root: { path: facts.container.rootfs, readonly: security?.readonlyRootfs ?? false },
    mounts,
    annotations: {
      ...allowed(sandbox.annotations, facts.handler?.podAnnotations),
      ...allowed(container.annotations, facts.handler?.containerAnnotations),
      ...annotations(container, sandbox, facts.container, facts.sandbox),
    },
    linux: {
      namespaces: buildNamespaces(
        security?.namespaceOptions,
        privileged,
        facts.sandbox,
        facts.container.targetPid,
        facts.host,
      ),
      ...(user ? { uidMappings: ociIdMappings(user.uids), gidMappings: ociIdMappings(user.gids) } : {}),
      devices,
      resources: buildResources(container.linux?.resources, rules, facts.host),
      cgroupsPath: cgroupsPath(
        facts.handler?.cgroupDriver ?? 'cgroupfs',
        sandbox.linux?.cgroupParent ?? '',
        facts.container.id,
      ),
      maskedPaths: privileged ? [] : (security?.maskedPaths ?? []),
      readonlyPaths: privileged ? [] : (security?.readonlyPaths ?? []),
      ...(seccomp ? { seccomp } : {}),
      ...(rootfsPropagation ? { rootfsPropagation } : {}),
      ...(labels ? { mountLabel: labels.mount } : {}),
    },
  }
  return applyEdits(spec, facts.container.cdi ?? [], facts.handler?.netDevices)
}

/** Those that a handler's runtime is to see: by name, or by a beginning with `*` after it. */
function allowed(given: Record<string, string>, patterns: readonly string[] = []): Record<string, string> {
  const matches = (name: string): boolean =>
    patterns.some((one) => (one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one))
  return Object.fromEntries(Object.entries(given).filter(([name]) => matches(name)))
}

/** The names by which other tools on the node recognise the container. */
function annotations(
  container: ContainerConfig,
  sandbox: PodSandboxConfig,
  facts: ContainerFacts,
  { id }: SandboxFacts,
): Record<string, string> {
  const prefix = 'io.kubernetes.cri.'
  const ofPod = {
    [`${prefix}container-type`]: facts.isInfra ? 'sandbox' : 'container',
    [`${prefix}sandbox-id`]: id,
    [`${prefix}sandbox-name`]: sandbox.metadata?.name ?? '',
    [`${prefix}sandbox-namespace`]: sandbox.metadata?.namespace ?? '',
    [`${prefix}sandbox-uid`]: sandbox.metadata?.uid ?? '',
  }
  if (facts.isInfra) {
    const { cpuPeriod = 0n, cpuQuota = 0n, cpuShares = 0n, memoryLimitInBytes = 0n } = sandbox.linux?.resources ?? {}
    return {
      ...ofPod,
      [`${prefix}sandbox-log-directory`]: sandbox.logDirectory,
      [`${prefix}sandbox-cpu-period`]: String(cpuPeriod),
      [`${prefix}sandbox-cpu-quota`]: String(cpuQuota),
      [`${prefix}sandbox-cpu-shares`]: String(cpuShares),
      [`${prefix}sandbox-memory`]: String(memoryLimitInBytes),
    }
  }
  return {
    ...ofPod,
    [`${prefix}container-name`]: container.metadata?.name ?? '',
    [`${prefix}image-name`]: facts.imageName ?? container.image?.image ?? '',
  }
}
