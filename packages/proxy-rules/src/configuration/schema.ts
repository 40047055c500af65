// KubeProxyConfiguration `kubeproxy.config.k8s.io/v1alpha1`: every field, its type and its default.
import { z } from 'zod'
import {
  durationOr,
  durationOrNanoseconds,
  flag,
  int32,
  numberOr,
  plainDuration,
  quantity,
  text,
  texts,
  textOr,
} from './fields.ts'
import type { DecodedConfiguration } from './types.ts'

const clients = {
  featureGates: z.record(z.string(), z.boolean()).default({}),
  clientConnection: z
    .strictObject({
      kubeconfig: text,
      acceptContentTypes: text,
      contentType: textOr('application/vnd.kubernetes.protobuf'),
      qps: numberOr(5),
      burst: numberOr(10, int32),
    })
    .prefault({}),
  hostnameOverride: text,
  configSyncPeriod: durationOr('15m'),
}

const verbosity = z.int().min(0).max(0xffff_ffff).default(0)
const format = z.strictObject({ splitStream: flag(false), infoBufferSize: quantity('0') }).prefault({})

const logging = z
  .strictObject({
    format: textOr('text'),
    flushFrequency: durationOrNanoseconds('5s'),
    verbosity,
    vmodule: z.array(z.strictObject({ filePattern: text, verbosity })).default([]),
    options: z.strictObject({ text: format, json: format }).prefault({}),
  })
  .prefault({})

const servers = {
  bindAddress: textOr('0.0.0.0'),
  healthzBindAddress: text,
  metricsBindAddress: text,
  bindAddressHardFail: flag(false),
  enableProfiling: flag(false),
  showHiddenMetricsForVersion: text,
}

const masquerading = { masqueradeBit: int32.default(14), masqueradeAll: flag(false) }
const periods = { syncPeriod: durationOr('30s'), minSyncPeriod: durationOr('1s') }

const modes = {
  mode: text,
  iptables: z.strictObject({ ...masquerading, localhostNodePorts: flag(true), ...periods }).prefault({}),
  ipvs: z
    .strictObject({
      syncPeriod: durationOr('30s'),
      minSyncPeriod: plainDuration('0s'),
      scheduler: text,
      excludeCIDRs: texts,
      strictARP: flag(false),
      tcpTimeout: plainDuration('0s'),
      tcpFinTimeout: plainDuration('0s'),
      udpTimeout: plainDuration('0s'),
    })
    .prefault({}),
  nftables: z.strictObject({ ...masquerading, ...periods }).prefault({}),
}

const node = {
  detectLocalMode: text,
  detectLocal: z.strictObject({ bridgeInterface: text, interfaceNamePrefix: text }).prefault({}),
  clusterCIDR: text,
  nodePortAddresses: texts,
  oomScoreAdj: int32.default(-999),
  conntrack: z
    .strictObject({
      maxPerCore: int32.default(32_768),
      min: int32.default(131_072),
      tcpEstablishedTimeout: plainDuration('24h'),
      tcpCloseWaitTimeout: plainDuration('1h'),
      tcpBeLiberal: flag(false),
      udpTimeout: plainDuration('0s'),
      udpStreamTimeout: plainDuration('0s'),
    })
    .prefault({}),
}

const unused = {
  winkernel: z
    .strictObject({
      networkName: text,
      sourceVip: text,
      enableDSR: flag(false),
      rootHnsEndpointName: text,
      forwardHealthCheckVip: flag(false),
    })
    .prefault({}),
  portRange: text,
  windowsRunAsService: flag(false),
}

/** Unknown fields are errors. */
export const kubeProxyConfigurationSchema: z.ZodType<DecodedConfiguration> = z.strictObject({
  apiVersion: z.literal('kubeproxy.config.k8s.io/v1alpha1').default('kubeproxy.config.k8s.io/v1alpha1'),
  kind: z.literal('KubeProxyConfiguration').default('KubeProxyConfiguration'),
  ...clients,
  logging,
  ...servers,
  ...modes,
  ...node,
  ...unused,
})
