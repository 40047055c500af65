export { DEFAULT_BACKOFF, delayAfter } from './backoff.ts'
export type { Backoff } from './backoff.ts'
export type { InformerHandlers } from './cache.ts'
export { createKubeClient } from './client.ts'
export type {
  KubeClient,
  KubeList,
  ListOptions,
  RemoveOptions,
  Selection,
  WatchOptions,
  WriteOptions,
} from './client.ts'
export { connectionOf, loadKubeconfig } from './connection.ts'
export type { ExecPlugin, KubeConnection, PemSource } from './connection.ts'
export {
  ConnectionError,
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  isTransient,
  isVersionTooLarge,
  KubeconfigError,
  StatusError,
} from './errors.ts'
export { matchesFields, parseFieldSelector, printFieldSelector } from './field-selector.ts'
export type { FieldRequirement } from './field-selector.ts'
export { startInformer } from './informer.ts'
export type { Informer, InformerOptions, InformerTransform } from './informer.ts'
export { parseKubeconfig } from './kubeconfig.ts'
export type { Kubeconfig, KubeconfigCluster, KubeconfigExec, KubeconfigUser } from './kubeconfig.ts'
export { listAll } from './list.ts'
export type { ListAllOptions } from './list.ts'
export { MalformedObjectError } from './malformed.ts'
export { matchesNodeSelector, tolerates, wantsNode } from './node-affinity.ts'
export { applyMergePatch, applyPatch, jsonPatch, mergePatch, mergePatchBetween, strategicPatch } from './patch.ts'
export type { JsonPatchOperation, Patch } from './patch.ts'
export type {
  PodCertificateRequest,
  PodCertificateRequestSpec,
  PodCertificateRequestStatus,
} from './pod-certificate-request.ts'
export type { RateLimit } from './rate-limit.ts'
export {
  apiVersionOf,
  configMaps,
  clusterTrustBundles,
  csiDrivers,
  csiNodes,
  csiStorageCapacities,
  daemonSets,
  defineResource,
  deployments,
  endpointSlices,
  events,
  certificateSigningRequests,
  leases,
  namespaces,
  nodes,
  pathOf,
  persistentVolumeClaims,
  persistentVolumes,
  podCertificateRequests,
  pods,
  replicaSets,
  secrets,
  serviceAccounts,
  services,
  storageClasses,
  volumeAttachments,
} from './resources.ts'
export type { KubeObject, ObjectRef, Resource } from './resources.ts'
export { labelRequirement, labelSelectorOf, matchesLabels, printLabelSelector, SelectorError } from './selector.ts'
export type { LabelOperator, LabelRequirement } from './selector.ts'
export { parseLabelSelector } from './selector-parser.ts'
export type { QueryValue, RawRequest, RawResponse, RequestReport } from './transport.ts'
export type { WatchEvent, WatchRun } from './watch.ts'
