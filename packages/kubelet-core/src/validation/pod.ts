// The rules by which the API server takes a pod at its creation, in its order and words. Pure.
import type { Pod, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { annotationErrors, profileErrors } from './annotations.ts'
import { containersErrors } from './container/container.ts'
import { duplicate, type FieldError, type FieldErrors, forbidden } from './field-error.ts'
import { labelsErrors, metadataErrors } from './metadata.ts'
import { checked, dnsSubdomain, qualifiedName } from './names.ts'
import { dnsConfigErrors, hostAliasesErrors, hostnameErrors, hostnameOverrideErrors } from './naming.ts'
import { claimsErrors, podResourcesErrors } from './pod-resources.ts'
import { hostUsersErrors, podSecurityErrors } from './pod-security.ts'
import { overheadErrors } from './resources.ts'
import { affinityErrors } from './scheduling/affinity.ts'
import { spreadErrors } from './scheduling/spread.ts'
import { tolerationsErrors } from './scheduling/tolerations.ts'
import { inRange, maybeOneOf, notNegative, oneOf } from './values.ts'
import { volumesErrors } from './volume/volumes.ts'
import { hostProcessErrors, osErrors } from './windows.ts'

/**
 * What is wrong with a pod that is to be created; nothing where it may be.
 * @param pod as {@link decodePod} and {@link withDefaults} give it. Volumes and variables that come from Secrets, ConfigMaps,
 *   claims and CSI drivers are not looked into.
 */
export function validatePod(pod: Pod): FieldError[] {
  return [...podErrors(pod)]
}

function* podErrors(pod: Pod): FieldErrors {
  const spec = pod.spec ?? { containers: [] }
  yield* metadataErrors(pod.metadata ?? {})
  yield* annotationErrors(pod)
  yield* specErrors(spec)
  if (spec.ephemeralContainers?.length) yield forbidden('spec.ephemeralContainers', 'cannot be set on create')
  if (spec.nodeName && spec.schedulingGates?.length) {
    yield forbidden('spec.nodeName', 'cannot be set until all schedulingGates have been cleared')
  }
  yield* profileErrors(pod)
}

const dnsPolicies = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None']

function* specErrors(spec: PodSpec): FieldErrors {
  yield* notNegative('spec.terminationGracePeriodSeconds', spec.terminationGracePeriodSeconds)
  yield* volumesErrors(spec.volumes)
  yield* containersErrors(spec)
  yield* claimsErrors(spec)
  yield* podResourcesErrors(spec)
  yield* oneOf('spec.restartPolicy', spec.restartPolicy, ['Always', 'OnFailure', 'Never'])
  yield* oneOf('spec.dnsPolicy', spec.dnsPolicy, dnsPolicies)
  yield* labelsErrors(spec.nodeSelector, 'spec.nodeSelector')
  yield* podSecurityErrors(spec)
  yield* affinityErrors(spec.affinity)
  yield* dnsConfigErrors(spec)
  yield* gatesErrors(spec)
  yield* spreadErrors(spec.topologySpreadConstraints)
  yield* hostProcessErrors(spec)
  yield* hostUsersErrors(spec)
  yield* hostnameOverrideErrors(spec)
  yield* nameErrors('serviceAccountName', spec)
  yield* nameErrors('nodeName', spec)
  yield* inRange('spec.activeDeadlineSeconds', spec.activeDeadlineSeconds, 1, 2 ** 31 - 1)
  yield* hostnameErrors(spec)
  yield* tolerationsErrors(spec.tolerations)
  yield* hostAliasesErrors(spec.hostAliases)
  yield* nameErrors('priorityClassName', spec)
  yield* nameErrors('runtimeClassName', spec)
  yield* maybeOneOf('spec.preemptionPolicy', spec.preemptionPolicy, ['PreemptLowerPriority', 'Never'])
  yield* overheadErrors(spec.overhead)
  yield* osErrors(spec)
}

type NameField = 'serviceAccountName' | 'nodeName' | 'priorityClassName' | 'runtimeClassName'

function* nameErrors(field: NameField, { [field]: name }: PodSpec): FieldErrors {
  if (name) yield* checked(`spec.${field}`, name, dnsSubdomain)
}

function* gatesErrors({ readinessGates = [], schedulingGates = [] }: PodSpec): FieldErrors {
  for (const [index, { conditionType = '' }] of readinessGates.entries()) {
    yield* checked(`spec.readinessGates[${index}].conditionType`, conditionType, qualifiedName)
  }
  const seen = new Set<string>()
  for (const [index, { name = '' }] of schedulingGates.entries()) {
    const field = `spec.schedulingGates[${index}].name`
    yield* checked(field, name, qualifiedName)
    if (seen.has(name)) yield duplicate(field, name)
    seen.add(name)
  }
}
