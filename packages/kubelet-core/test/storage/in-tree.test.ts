// Volumes of cloud providers as their drivers know them.
import type { PersistentVolume, PersistentVolumeSpec, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { migratedPlugins, translatedInline, translatedVolume } from '../../src/storage/in-tree.ts'
import { planVolumes } from '../../src/volume/plan.ts'

const pv = (spec: PersistentVolumeSpec, labels: Record<string, string> = {}): PersistentVolume => ({
  metadata: { name: 'pv', labels },
  spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, ...spec },
})
const zone = 'topology.kubernetes.io/zone'
const oldZone = 'failure-domain.beta.kubernetes.io/zone'

test.each<[string, PersistentVolume, object]>([
  [
    'EBS by its bare id',
    pv({ awsElasticBlockStore: { volumeID: 'vol-1', fsType: 'xfs', partition: 2, readOnly: true } }),
    {
      driver: 'ebs.csi.aws.com',
      volumeHandle: 'vol-1',
      fsType: 'xfs',
      readOnly: true,
      volumeAttributes: { partition: '2' },
    },
  ],
  [
    'EBS by a URL with a zone',
    pv({ awsElasticBlockStore: { volumeID: 'aws://us-east-1a/vol-2' } }),
    { driver: 'ebs.csi.aws.com', volumeHandle: 'vol-2', volumeAttributes: { partition: '0' } },
  ],
  [
    'EBS by a URL without one',
    pv({ awsElasticBlockStore: { volumeID: 'aws:///vol-3' } }),
    { driver: 'ebs.csi.aws.com', volumeHandle: 'vol-3', volumeAttributes: { partition: '0' } },
  ],
  [
    'Azure disk',
    pv({ azureDisk: { diskName: 'd', diskURI: '/subscriptions/s/disks/d', cachingMode: 'None', fsType: 'ext4' } }),
    {
      driver: 'disk.csi.azure.com',
      volumeHandle: '/subscriptions/s/disks/d',
      fsType: 'ext4',
      volumeAttributes: { kind: 'Managed', cachingMode: 'None', fsType: 'ext4' },
    },
  ],
  [
    'Azure disk of a kind',
    pv({ azureDisk: { diskName: 'd', diskURI: '/d', kind: 'Dedicated', readOnly: false } }),
    { driver: 'disk.csi.azure.com', volumeHandle: '/d', volumeAttributes: { kind: 'Dedicated' } },
  ],
  [
    'Azure share, its secret beside the claim',
    pv({
      azureFile: { secretName: 'azure-storage-account-acc-secret', shareName: 'share' },
      claimRef: { namespace: 'shop' },
    }),
    {
      driver: 'file.csi.azure.com',
      volumeHandle: '#acc#share#pv#shop',
      volumeAttributes: { sharename: 'share' },
      nodeStageSecretRef: { name: 'azure-storage-account-acc-secret', namespace: 'shop' },
    },
  ],
  [
    'Azure share of a resource group, its secret elsewhere',
    {
      metadata: { name: 'pv', annotations: { 'kubernetes.io/azure-file-resource-group': 'rg' } },
      spec: { azureFile: { secretName: 'own', secretNamespace: 'keys', shareName: 'share', readOnly: true } },
    },
    {
      driver: 'file.csi.azure.com',
      volumeHandle: 'rg#own#share#pv#keys',
      readOnly: true,
      volumeAttributes: { sharename: 'share' },
      nodeStageSecretRef: { name: 'own', namespace: 'keys' },
    },
  ],
  [
    'Cinder',
    pv({ cinder: { volumeID: 'c', fsType: 'ext4' } }),
    { driver: 'cinder.csi.openstack.org', volumeHandle: 'c', fsType: 'ext4', volumeAttributes: {} },
  ],
  [
    'GCE disk that says not where it is',
    pv({ gcePersistentDisk: { pdName: 'd' } }),
    {
      driver: 'pd.csi.storage.gke.io',
      volumeHandle: 'projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d',
      volumeAttributes: { partition: '' },
    },
  ],
  [
    'GCE disk of a zone',
    pv({ gcePersistentDisk: { pdName: 'd', partition: 1 } }, { [zone]: 'us-central1-b' }),
    {
      driver: 'pd.csi.storage.gke.io',
      volumeHandle: 'projects/UNSPECIFIED/zones/us-central1-b/disks/d',
      volumeAttributes: { partition: '1' },
    },
  ],
  [
    'GCE disk of a region',
    pv({ gcePersistentDisk: { pdName: 'd' } }, { [oldZone]: 'us-central1-a__us-central1-b' }),
    {
      driver: 'pd.csi.storage.gke.io',
      volumeHandle: 'projects/UNSPECIFIED/regions/us-central1/disks/d',
      volumeAttributes: { partition: '' },
    },
  ],
  [
    'Portworx',
    pv({ portworxVolume: { volumeID: 'p', fsType: 'ext4' } }),
    { driver: 'pxd.portworx.com', volumeHandle: 'p', fsType: 'ext4', volumeAttributes: {} },
  ],
  [
    'vSphere',
    pv({ vsphereVolume: { volumePath: '[ds] a/b.vmdk', storagePolicyName: 'gold' } }),
    {
      driver: 'csi.vsphere.vmware.com',
      volumeHandle: '[ds] a/b.vmdk',
      volumeAttributes: { storagepolicyname: 'gold' },
    },
  ],
])('%s', (_, volume, csi) => {
  const translated = translatedVolume(volume)
  expect(translated?.spec?.csi).toEqual(csi)
  const sources = Object.keys(translated?.spec ?? {}).filter((key) => key in (volume.spec ?? {}))
  expect(sources.toSorted()).toEqual(
    Object.keys(volume.spec ?? {})
      .filter((key) => ['accessModes', 'capacity', 'claimRef'].includes(key))
      .toSorted(),
  )
})

test('a volume of another kind is left as it is', () => {
  expect(translatedVolume(pv({ nfs: { server: 's', path: '/' } }))).toBeUndefined()
  expect(translatedInline({ name: 'v', emptyDir: {} }, 'shop')).toBeUndefined()
})

test.each<[PersistentVolume, string]>([
  [
    pv({ awsElasticBlockStore: { volumeID: 'aws://zone/disk-1' } }),
    'invalid format for AWS volume (aws://zone/disk-1)',
  ],
  [
    pv({ azureFile: { secretName: 's', shareName: 'x' } }),
    'could not find a secret namespace in PersistentVolumeSource or ClaimRef',
  ],
  [
    pv({ gcePersistentDisk: { pdName: 'd' } }, { [zone]: 'a__b' }),
    'zone in unexpected format, expected: {locale}-{region}-{zone}, got: a',
  ],
  [
    pv({ gcePersistentDisk: { pdName: 'd' } }, { [zone]: 'us-a-1__eu-b-1' }),
    'multiple or no regions gotten from zones, got: us-a eu-b',
  ],
])('what cannot be translated is an error %#', (volume, message) => {
  expect(() => translatedVolume(volume)).toThrow(message)
})

const term = (key: string, ...values: string[]) => ({
  matchExpressions: [{ key, operator: 'In', values }],
})
const required = (...nodeSelectorTerms: object[]) => ({ required: { nodeSelectorTerms } })

test.each<[string, Partial<PersistentVolumeSpec>, Record<string, string>, object | undefined]>([
  ['neither affinity nor labels: any node', {}, {}, undefined],
  ['the zone of its affinity', { nodeAffinity: required(term(zone, 'a', 'b')) }, {}, required(term('ebs', 'a', 'b'))],
  ['the old zone', { nodeAffinity: required(term(oldZone, 'a')) }, { [oldZone]: 'b' }, required(term('ebs', 'a'))],
  [
    'the old region is the one of today',
    { nodeAffinity: required(term('failure-domain.beta.kubernetes.io/region', 'r')) },
    {},
    required(term('topology.kubernetes.io/region', 'r')),
  ],
  ['the zones of its labels', {}, { [zone]: 'b__a' }, required(term('ebs', 'a', 'b'))],
  [
    'those of its labels, in each term',
    { nodeAffinity: required(term('x', '1'), {}) },
    { [zone]: 'a' },
    required(
      { matchExpressions: [...term('x', '1').matchExpressions, ...term('ebs', 'a').matchExpressions] },
      term('ebs', 'a'),
    ),
  ],
])('topology: %s', (_, spec, labels, expected) => {
  const text = JSON.stringify(expected)?.replaceAll('"ebs"', '"topology.ebs.csi.aws.com/zone"')
  const translated = translatedVolume(pv({ ...spec, awsElasticBlockStore: { volumeID: 'v' } }, labels))
  expect(translated?.spec?.nodeAffinity).toEqual(text && JSON.parse(text))
})

test('topology: vSphere has regions of its own, files of Azure none', () => {
  const region = 'topology.kubernetes.io/region'
  const nodeAffinity = required(term(zone, 'z'))
  const labels = { [region]: 'r' }
  const disk = translatedVolume(pv({ nodeAffinity, vsphereVolume: { volumePath: 'p' } }, labels))
  expect(disk?.spec?.nodeAffinity).toEqual(
    required({
      matchExpressions: [
        ...term('topology.csi.vmware.com/zone', 'z').matchExpressions,
        ...term('topology.csi.vmware.com/region', 'r').matchExpressions,
      ],
    }),
  )
  const azureFile = { secretName: 's', secretNamespace: 'n', shareName: 'x' }
  expect(translatedVolume(pv({ nodeAffinity, azureFile }, labels))?.spec?.nodeAffinity).toBe(nodeAffinity)
})

test.each([
  [['ReadWriteMany'], ['ReadWriteOnce']],
  [['ReadWriteOnce', 'ReadOnlyMany'], ['ReadWriteOnce']],
  [['ReadOnlyMany'], ['ReadOnlyMany']],
])('GCE disks with %j are attached with %j', (accessModes, attached) => {
  expect(translatedVolume(pv({ gcePersistentDisk: { pdName: 'd' }, accessModes }))?.spec?.accessModes).toEqual(attached)
})

test.each<[Omit<Volume, 'name'>, string, string, object]>([
  [
    { awsElasticBlockStore: { volumeID: 'aws://z/vol-1' } },
    'ebs.csi.aws.com-vol-1',
    'ReadWriteOnce',
    { volumeHandle: 'vol-1' },
  ],
  [{ azureDisk: { diskName: 'disk', diskURI: '/d' } }, 'disk', 'ReadWriteOnce', { volumeHandle: '/d' }],
  [
    { azureFile: { secretName: 'key', shareName: 'share' } },
    'file.csi.azure.com-share',
    'ReadWriteMany',
    { volumeHandle: '#key#share#v#shop', nodeStageSecretRef: { name: 'key', namespace: 'shop' } },
  ],
  [{ cinder: { volumeID: 'c' } }, 'cinder.csi.openstack.org-c', 'ReadWriteOnce', { volumeHandle: 'c' }],
  [
    { gcePersistentDisk: { pdName: 'd', readOnly: true } },
    'pd.csi.storage.gke.io-d',
    'ReadOnlyMany',
    { volumeHandle: 'projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d', readOnly: true },
  ],
  [{ portworxVolume: { volumeID: 'p' } }, 'pxd.portworx.com-p', 'ReadWriteMany', { volumeHandle: 'p' }],
  [
    { vsphereVolume: { volumePath: '[ds] a/b.vmdk' } },
    'csi.vsphere.vmware.com-[ds] a/b.vmdk',
    'ReadWriteOnce',
    { volumeHandle: '[ds] a/b.vmdk' },
  ],
])('inline %j', (source, name, mode, csi) => {
  const volume = translatedInline({ name: 'v', ...source }, 'shop')
  expect([volume?.metadata?.name, volume?.spec?.accessModes]).toEqual([name, [mode]])
  expect(volume?.spec?.csi).toMatchObject(csi)
})

test('pods have them as volumes of drivers, which are attached', () => {
  const volumes = [
    { name: 'a', cinder: { volumeID: 'c', readOnly: true } },
    { name: 'b', persistentVolumeClaim: { claimName: 'c' } },
  ]
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }))
  const pod: Pod = { metadata: { name: 'web' }, spec: { containers: [{ name: 'c', volumeMounts }], volumes } }
  const nodeAffinity = required(term(zone, 'z'))
  const bound = { claim: {}, readOnly: false, volume: pv({ cinder: { volumeID: 'd' }, nodeAffinity }) }
  const [inline, claimed] = planVolumes(pod, 0n, new Map([['b', bound]]))
  const common = { driver: 'cinder.csi.openstack.org', lifecycle: 'Persistent', migrated: true }
  expect(inline).toMatchObject({ kind: 'csi', name: 'a', volume: { ...common, volumeHandle: 'c', readOnly: true } })
  expect(claimed).toMatchObject({
    kind: 'csi',
    volume: { ...common, volumeHandle: 'd', readOnly: false, specName: 'pv' },
    bound: { volume: { spec: { nodeAffinity: required(term('topology.cinder.csi.openstack.org/zone', 'z')) } } },
  })
})

test('CSINode says which are translated', () => {
  expect(migratedPlugins.join(',')).toBe(
    'kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/vsphere-volume',
  )
})
