// The table of `openapi/wire.json`, from the descriptors that a kubectl of Kubernetes 1.32 to 1.34 carries.
import { readFileSync } from 'node:fs'
import { constants, inflateRawSync } from 'node:zlib'
import descriptor from 'protobufjs/ext/descriptor.js'
import { documentOf } from '../src/kinds/schema.ts'

/** What this server reads, by its message. */
const kinds: Readonly<Record<string, string>> = {
  'v1/Binding': 'core.v1.Binding',
  'v1/ConfigMap': 'core.v1.ConfigMap',
  'v1/Event': 'core.v1.Event',
  'v1/Namespace': 'core.v1.Namespace',
  'v1/Node': 'core.v1.Node',
  'v1/PersistentVolume': 'core.v1.PersistentVolume',
  'v1/PersistentVolumeClaim': 'core.v1.PersistentVolumeClaim',
  'v1/Pod': 'core.v1.Pod',
  'v1/Secret': 'core.v1.Secret',
  'v1/Service': 'core.v1.Service',
  'v1/ServiceAccount': 'core.v1.ServiceAccount',
  'apps/v1/Deployment': 'apps.v1.Deployment',
  'apps/v1/ReplicaSet': 'apps.v1.ReplicaSet',
  'authentication.k8s.io/v1/SelfSubjectReview': 'authentication.v1.SelfSubjectReview',
  'authentication.k8s.io/v1/TokenRequest': 'authentication.v1.TokenRequest',
  'authentication.k8s.io/v1/TokenReview': 'authentication.v1.TokenReview',
  'authorization.k8s.io/v1/SelfSubjectAccessReview': 'authorization.v1.SelfSubjectAccessReview',
  'authorization.k8s.io/v1/SubjectAccessReview': 'authorization.v1.SubjectAccessReview',
  'autoscaling/v1/Scale': 'autoscaling.v1.Scale',
  'certificates.k8s.io/v1/CertificateSigningRequest': 'certificates.v1.CertificateSigningRequest',
  'coordination.k8s.io/v1/Lease': 'coordination.v1.Lease',
  'discovery.k8s.io/v1/EndpointSlice': 'discovery.v1.EndpointSlice',
  'policy/v1/Eviction': 'policy.v1.Eviction',
  'storage.k8s.io/v1/CSIDriver': 'storage.v1.CSIDriver',
  'storage.k8s.io/v1/CSINode': 'storage.v1.CSINode',
  'storage.k8s.io/v1/CSIStorageCapacity': 'storage.v1.CSIStorageCapacity',
  'storage.k8s.io/v1/StorageClass': 'storage.v1.StorageClass',
  'storage.k8s.io/v1/VolumeAttachment': 'storage.v1.VolumeAttachment',
}

/** Fields whose zero is a value: pointers in Go. All other numbers and truths that need not be there are not, at zero. */
const zeroIsValue = new Set(
  `Deployment*.collisionCount DeploymentSpec.replicas DeploymentSpec.revisionHistoryLimit
   DeploymentSpec.progressDeadlineSeconds ReplicaSetSpec.replicas *.immutable ObjectMeta.deletionGracePeriodSeconds
   OwnerReference.controller OwnerReference.blockOwnerDeletion NodeRuntimeHandlerFeatures.recursiveReadOnlyMounts
   NodeRuntimeHandlerFeatures.userNamespaces NodeFeatures.supplementalGroupsPolicy *.terminationGracePeriodSeconds
   PodSpec.activeDeadlineSeconds *.automountServiceAccountToken PodSpec.shareProcessNamespace PodSpec.priority
   PodSpec.enableServiceLinks PodSpec.setHostnameAsFQDN PodSpec.hostUsers *.defaultMode *.optional KeyToPath.mode
   DownwardAPIVolumeFile.mode FCVolumeSource.lun AzureDiskVolumeSource.readOnly CSIVolumeSource.readOnly
   ServiceAccountTokenProjection.expirationSeconds SecurityContext.privileged *.runAsUser *.runAsGroup *.runAsNonRoot
   *.fsGroup SecurityContext.readOnlyRootFilesystem SecurityContext.allowPrivilegeEscalation
   WindowsSecurityContextOptions.hostProcess Toleration.tolerationSeconds TopologySpreadConstraint.minDomains
   ContainerStatus.started ServiceSpec.allocateLoadBalancerNodePorts ClientIPConfig.timeoutSeconds
   TokenRequestSpec.expirationSeconds LeaseSpec.holderIdentity LeaseSpec.leaseDurationSeconds LeaseSpec.leaseTransitions
   EndpointConditions.ready EndpointConditions.serving EndpointConditions.terminating EndpointPort.port
   CertificateSigningRequestSpec.expirationSeconds DeleteOptions.gracePeriodSeconds DeleteOptions.orphanDependents
   ScaleSpec.replicas
   PersistentVolumeClaimSpec.storageClassName PersistentVolumeClaimSpec.volumeAttributesClassName
   StorageClass.allowVolumeExpansion CSIDriverSpec.attachRequired CSIDriverSpec.podInfoOnMount
   CSIDriverSpec.storageCapacity CSIDriverSpec.requiresRepublish CSIDriverSpec.seLinuxMount
   TokenRequest.expirationSeconds VolumeNodeResources.count VolumeAttachmentSource.persistentVolumeName
   DeleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential`
    .replaceAll('Deployment*', 'DeploymentStatus')
    .split(/\s+/),
)

type Message = descriptor.IDescriptorProto

const gzipHead = Buffer.from([0x1f, 0x8b, 8])
const headLength = 10
const largestDescriptor = 256 * 1024

/** Messages by name, such as `core.v1.Pod`. */
function messagesIn(program: string): Map<string, Message> {
  const bytes = readFileSync(program)
  const found = new Map<string, Message>()
  for (let at = bytes.indexOf(gzipHead); at >= 0; at = bytes.indexOf(gzipHead, at + gzipHead.length)) {
    let content: Buffer
    try {
      // Without their heads: files that follow one another would else be read as one.
      content = inflateRawSync(bytes.subarray(at + headLength, at + largestDescriptor), {
        finishFlush: constants.Z_SYNC_FLUSH,
      })
    } catch {
      continue // these bytes only look like the head of a file
    }
    if (!content.subarray(0, 200).includes('generated.proto')) continue
    const file = descriptor.FileDescriptorProto.decode(content)
    for (const message of file.messageType) found.set(shortName(`.${file.package}.${message.name}`), message)
  }
  return found
}

const shortName = (name: string): string =>
  name
    .replace(/^\.k8s\.io\.(api|apimachinery\.pkg\.apis|apimachinery\.pkg\.api|apimachinery\.pkg\.util)\./, '')
    .replace(/^.*\.ExtraValue$/, 'ExtraValue')

const types: Readonly<Record<number, string>> = { 3: 'int', 5: 'int', 8: 'bool', 9: 'string', 12: 'bytes' }
const listLabel = 3
const messageType = 11
/** Messages that are read as one value. */
const single = ['resource.Quantity', 'meta.v1.Time', 'meta.v1.MicroTime', 'meta.v1.FieldsV1', 'intstr.IntOrString']

/** @throws Error when the program has no descriptors */
export function wireTable(program: string): object {
  const all = messagesIn(program)
  const messages: Record<string, Record<string, string>> = {}
  const add = (name: string): void => {
    if (messages[name] || name === 'ExtraValue' || single.includes(name)) return
    const message = all.get(name)
    if (!message) throw new Error(`${program}: has no descriptor of ${name}: it is not a kubectl of 1.32 to 1.34`)
    const fields: Record<string, string> = {}
    messages[name] = fields
    for (const field of message.field ?? []) {
      const entry = (message.nestedType ?? []).find((one) => field.typeName?.endsWith(`.${message.name}.${one.name}`))
      const value = entry ? entry.field?.find(({ number }) => number === 2) : field
      const isMessage = value?.type === messageType
      const type = isMessage ? shortName(value.typeName ?? '') : (types[Number(value?.type)] ?? '')
      if (type === '') throw new Error(`${name}.${field.name}: type ${value?.type} is not known here`)
      if (isMessage) add(type)
      const before = entry
        ? '{}'
        : Number(field.label) === listLabel
          ? '[]'
          : isMessage && isInline(name, field.name ?? '')
            ? '...'
            : ''
      const after = before === '' && !isMessage && zeroIsAbsent(name, field.name ?? '') ? '?' : ''
      fields[Number(field.number)] = `${field.name === 'uID' ? 'uid' : field.name} ${before}${type}${after}`
    }
  }
  for (const name of [...Object.values(kinds), 'meta.v1.DeleteOptions']) add(name)
  return { kinds, messages }
}

/** Structures that Go embeds: their fields are the outer object's in JSON. */
const embedded = new Set([
  'volumeSource',
  'persistentVolumeSource',
  'localObjectReference',
  'handler',
  'ephemeralContainerCommon',
])
const isInline = (message: string, field: string): boolean => {
  const known = propertiesOf(message)
  return embedded.has(field) && !(known && field in known.properties)
}

function zeroIsAbsent(message: string, field: string): boolean {
  if (propertiesOf(message)?.required.includes(field)) return false
  const short = message.split('.').at(-1)
  return !zeroIsValue.has(`${short}.${field}`) && !zeroIsValue.has(`*.${field}`)
}

const groups: Readonly<Record<string, string>> = {
  apps: 'apps/v1',
  authentication: 'authentication.k8s.io/v1',
  authorization: 'authorization.k8s.io/v1',
  certificates: 'certificates.k8s.io/v1',
  coordination: 'coordination.k8s.io/v1',
  discovery: 'discovery.k8s.io/v1',
  storage: 'storage.k8s.io/v1',
}

function propertiesOf(message: string): { properties: object; required: string[] } | undefined {
  const [group = '', , name = ''] = message.split('.')
  const document = documentOf(groups[group] ?? 'v1')
  const prefix = group === 'meta' ? 'io.k8s.apimachinery.pkg.apis' : 'io.k8s.api'
  const schema = document?.schemas[`${prefix}.${group}.v1.${name}`]
  return schema && { properties: schema.properties ?? {}, required: (schema as { required?: string[] }).required ?? [] }
}
