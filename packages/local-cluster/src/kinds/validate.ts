// What the API server refuses: each problem names its field. Pure.
import { duplicate, forbidden, invalidValue, missing, required, unsupported } from '../api/errors.ts'
import type { FieldProblem } from '../api/errors.ts'
import { certificateChangeProblems, certificateProblems } from './certificates.ts'
import { dns1035, dns1035Text, label, labelText, longestLabel, longestName, subdomain, subdomainText } from './names.ts'
import { podCertificateChangeProblems, podCertificateProblems } from './pod-certificates.ts'
import { quantity } from './quantity.ts'
import { storageChangeProblems, storageProblems } from './storage.ts'
import { podVolumeProblems, volumeChangeProblems, volumeProblems } from './volumes.ts'
import { isFields, listAt, sameJson } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'

/** Everything that is wrong with an object. */
export function problemsOf(resource: string, object: ApiObject): FieldProblem[] {
  const problems = [...nameProblems(resource, object), ...labelProblems(object)]
  const spec = isFields(object.spec) ? object.spec : {}
  switch (resource) {
    case 'pods':
      return [...problems, ...podProblems(spec, 'spec')]
    case 'deployments':
    case 'replicasets':
      return [...problems, ...templateProblems(spec)]
    case 'services':
      return [...problems, ...serviceProblems(spec)]
    case 'certificatesigningrequests':
      return [...problems, ...certificateProblems(spec)]
    case 'podcertificaterequests':
      return [...problems, ...podCertificateProblems(spec)]
    default:
      return [...problems, ...volumeProblems(resource, spec), ...storageProblems(resource, object)]
  }
}

function nameProblems(resource: string, { metadata: { name } }: ApiObject): FieldProblem[] {
  if (!name) return [required('metadata.name', 'name or generateName is required')]
  if (resource === 'certificatesigningrequests') return pathProblems(name)
  const [pattern, longest, text] =
    resource === 'services'
      ? [dns1035, longestLabel, dns1035Text]
      : resource === 'namespaces'
        ? [label, longestLabel, labelText]
        : [subdomain, longestName, subdomainText]
  if (name.length > longest) return [invalidValue('metadata.name', name, `must be no more than ${longest} bytes`)]
  return new RegExp(`^${pattern}$`).test(name) ? [] : [invalidValue('metadata.name', name, text)]
}

/** Names of these are only to be parts of paths. */
function pathProblems(name: string): FieldProblem[] {
  const wrong = ['.', '..'].includes(name) ? `may not be '${name}'` : ['/', '%'].find((sign) => name.includes(sign))
  if (wrong === undefined) return []
  return [invalidValue('metadata.name', name, wrong.length > 1 ? wrong : `may not contain '${wrong}'`)]
}

const labelKey = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/
const labelValueText =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
const labelKeyText =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"

function labelProblems({ metadata: { labels = {} } }: ApiObject): FieldProblem[] {
  return Object.entries(labels).flatMap(([key, value]) => {
    if (!labelKey.test(key)) return [invalidValue('metadata.labels', key, labelKeyText)]
    return labelValue.test(value) ? [] : [invalidValue('metadata.labels', value, labelValueText)]
  })
}

function templateProblems(spec: Fields): FieldProblem[] {
  const template = isFields(spec.template) ? spec.template : {}
  const problems: FieldProblem[] = []
  const selector = isFields(spec.selector) ? spec.selector : undefined
  if (typeof spec.replicas === 'number' && spec.replicas < 0) {
    problems.push(invalidValue('spec.replicas', spec.replicas, 'must be greater than or equal to 0'))
  }
  if (!selector) problems.push(required('spec.selector'))
  const labels = isFields(template.metadata) && isFields(template.metadata.labels) ? template.metadata.labels : {}
  const wanted = selector && isFields(selector.matchLabels) ? selector.matchLabels : {}
  if (selector && Object.entries(wanted).some(([key, value]) => labels[key] !== value)) {
    problems.push(invalidValue('spec.template.metadata.labels', labels, '`selector` does not match template `labels`'))
  }
  return [...problems, ...podProblems(isFields(template.spec) ? template.spec : {}, 'spec.template.spec')]
}

function podProblems(spec: Fields, at: string): FieldProblem[] {
  const volumes = listAt(spec, 'volumes').map(({ name }) => name)
  const containers = listAt(spec, 'containers')
  const problems = containers.length === 0 ? [required(`${at}.containers`)] : []
  const names = new Set<unknown>()
  for (const field of ['initContainers', 'containers']) {
    for (const [index, container] of listAt(spec, field).entries()) {
      problems.push(...containerProblems(container, `${at}.${field}[${index}]`, names, volumes))
    }
  }
  problems.push(...duplicates(volumes, (index) => `${at}.volumes[${index}].name`))
  for (const [index, volume] of listAt(spec, 'volumes').entries()) {
    problems.push(...podVolumeProblems(volume, `${at}.volumes[${index}]`))
  }
  const policies = ['Always', 'OnFailure', 'Never']
  if (!policies.includes(String(spec.restartPolicy))) {
    problems.push(unsupported(`${at}.restartPolicy`, spec.restartPolicy, policies))
  }
  const dns = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None']
  if (!dns.includes(String(spec.dnsPolicy))) problems.push(unsupported(`${at}.dnsPolicy`, spec.dnsPolicy, dns))
  return problems
}

function duplicates(values: readonly unknown[], at: (index: number) => string): FieldProblem[] {
  return values.flatMap((value, index) => (values.indexOf(value) < index ? [duplicate(at(index), value)] : []))
}

function containerProblems(
  container: Fields,
  at: string,
  names: Set<unknown>,
  volumes: readonly unknown[],
): FieldProblem[] {
  const { name, image } = container
  const problems: FieldProblem[] = []
  if (typeof name !== 'string' || name === '') problems.push(required(`${at}.name`))
  else if (!new RegExp(`^${label}$`).test(name)) problems.push(invalidValue(`${at}.name`, name, labelText))
  else if (names.has(name)) problems.push(duplicate(`${at}.name`, name))
  names.add(name)
  if (typeof image !== 'string' || image === '') problems.push(required(`${at}.image`))
  for (const [index, mount] of listAt(container, 'volumeMounts').entries()) {
    if (!volumes.includes(mount.name)) problems.push(missing(`${at}.volumeMounts[${index}].name`, mount.name))
    if (!mount.mountPath) problems.push(required(`${at}.volumeMounts[${index}].mountPath`))
  }
  for (const [index, port] of listAt(container, 'ports').entries()) {
    problems.push(...portProblems(port.containerPort, `${at}.ports[${index}].containerPort`))
  }
  const resources = isFields(container.resources) ? container.resources : {}
  const limits = isFields(resources.limits) ? resources.limits : {}
  const requests = isFields(resources.requests) ? resources.requests : {}
  for (const [key, value] of Object.entries(requests)) {
    const limit = limits[key]
    if (limit !== undefined && quantity(value) > quantity(limit)) {
      problems.push(
        invalidValue(
          `${at}.resources.requests`,
          value,
          `must be less than or equal to ${key} limit of ${String(limit)}`,
        ),
      )
    }
  }
  for (const kind of ['livenessProbe', 'startupProbe']) {
    const probe = container[kind]
    if (isFields(probe) && probe.successThreshold !== undefined && probe.successThreshold !== 1) {
      problems.push(invalidValue(`${at}.${kind}.successThreshold`, probe.successThreshold, 'must be 1'))
    }
  }
  return problems
}

const portText = 'must be between 1 and 65535, inclusive'

function portProblems(port: unknown, at: string): FieldProblem[] {
  if (port === undefined) return [required(at)]
  return typeof port === 'number' && port >= 1 && port <= 65_535 ? [] : [invalidValue(at, port, portText)]
}

function serviceProblems(spec: Fields): FieldProblem[] {
  const ports = listAt(spec, 'ports')
  const problems: FieldProblem[] = []
  const types = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort']
  if (!types.includes(String(spec.type))) problems.push(unsupported('spec.type', spec.type, types))
  if (ports.length === 0 && spec.clusterIP !== 'None' && spec.type !== 'ExternalName')
    problems.push(required('spec.ports'))
  for (const [index, port] of ports.entries()) {
    if (ports.length > 1 && !port.name) problems.push(required(`spec.ports[${index}].name`))
    problems.push(...portProblems(port.port, `spec.ports[${index}].port`))
    const protocols = ['SCTP', 'TCP', 'UDP']
    if (!protocols.includes(String(port.protocol))) {
      problems.push(unsupported(`spec.ports[${index}].protocol`, port.protocol, protocols))
    }
  }
  problems.push(
    ...duplicates(
      ports.map(({ name }) => name).filter((name) => name),
      (index) => `spec.ports[${index}].name`,
    ),
  )
  const affinities = ['ClientIP', 'None']
  if (!affinities.includes(String(spec.sessionAffinity))) {
    problems.push(unsupported('spec.sessionAffinity', spec.sessionAffinity, affinities))
  }
  if (spec.type === 'ExternalName' && !spec.externalName) problems.push(required('spec.externalName'))
  return problems
}

const podUpdateText =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)'
const mutableOfPods = ['activeDeadlineSeconds', 'tolerations', 'terminationGracePeriodSeconds']

/** What may not change. */
export function changeProblems(resource: string, before: ApiObject, after: ApiObject): FieldProblem[] {
  switch (resource) {
    case 'certificatesigningrequests':
      return certificateChangeProblems(before, after)
    case 'podcertificaterequests':
      return podCertificateChangeProblems(before, after)
    default:
      return specChangeProblems(resource, before, after)
  }
}

function specChangeProblems(resource: string, before: ApiObject, after: ApiObject): FieldProblem[] {
  const [old, now] = [before.spec, after.spec].map((spec) => (isFields(spec) ? spec : {}))
  if (!old || !now) return []
  const differs = (a: unknown, b: unknown): boolean => !sameJson(a, b)
  switch (resource) {
    case 'pods':
      return differs(frozen(old), frozen(now)) ? [forbidden('spec', podUpdateText)] : []
    case 'deployments':
    case 'replicasets':
      return differs(old.selector, now.selector)
        ? [invalidValue('spec.selector', now.selector, 'field is immutable')]
        : []
    case 'services':
      return old.clusterIP &&
        old.clusterIP !== now.clusterIP &&
        now.type !== 'ExternalName' &&
        old.type !== 'ExternalName'
        ? [invalidValue('spec.clusterIPs[0]', [now.clusterIP], 'may not change once set')]
        : []
    case 'configmaps':
    case 'secrets':
      return before.immutable === true &&
        (differs(before.data, after.data) || differs(before.binaryData, after.binaryData))
        ? [forbidden('data', 'field is immutable when `immutable` is set')]
        : []
    case 'persistentvolumes':
    case 'persistentvolumeclaims':
      return volumeChangeProblems(resource, before, after)
    default:
      return storageChangeProblems(resource, before, after)
  }
}

function frozen(spec: Fields): unknown {
  const withoutImages = (name: string): Fields[] => listAt(spec, name).map((one) => ({ ...one, image: '' }))
  const rest = Object.fromEntries(Object.entries(spec).filter(([key]) => !mutableOfPods.includes(key)))
  return { ...rest, containers: withoutImages('containers'), initContainers: withoutImages('initContainers') }
}
