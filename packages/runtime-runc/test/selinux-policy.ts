// The smallest policy that has container types and categories. It forbids nothing: what it is for is labels.
const initial =
  'kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket tcp_socket ' +
  'sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy scmp_packet devnull'
const files = ['file', 'dir', 'lnk_file', 'chr_file', 'blk_file', 'sock_file', 'fifo_file']
const names = initial.split(' ')
const categories = Array.from({ length: 1024 }, (_, at) => `c${at}`)
const types = ['base_t', 'container_t', 'container_file_t', 'container_ro_file_t', 'spc_t']
const base = 'system_u:object_r:base_t:s0'

/** As checkpolicy reads it, with `-M`. */
export const policySource: string = `
class process
class process2
${files.map((name) => `class ${name}`).join('\n')}
${names.map((name) => `sid ${name}`).join('\n')}
class process { transition dyntransition setexec setfscreate setcurrent setsockcreate setkeycreate }
class process2 { nnp_transition nosuid_transition }
${files.map((name) => `class ${name} { read write create relabelfrom relabelto entrypoint execute mounton }`).join('\n')}
sensitivity s0;
dominance { s0 }
${categories.map((name) => `category ${name};`).join('\n')}
level s0:c0.c1023;
mlsconstrain file { read } ( h1 dom h2 or t1 == base_t );
policycap nnp_nosuid_transition;
${types.map((type) => `type ${type};`).join('\n')}
role system_r;
role system_r types { ${types.join(' ')} };
allow base_t base_t:file { read };
user system_u roles { system_r } level s0 range s0 - s0:c0.c1023;
${names.map((name) => `sid ${name} system_u:system_r:base_t:s0`).join('\n')}
fs_use_xattr ext4 ${base};
fs_use_xattr overlay ${base};
fs_use_trans tmpfs ${base};
fs_use_trans devpts ${base};
fs_use_trans mqueue ${base};
fs_use_task pipefs ${base};
fs_use_task sockfs ${base};
genfscon proc / ${base}
genfscon sysfs / ${base}
genfscon cgroup2 / ${base}
genfscon hostfs / ${base}
genfscon selinuxfs / ${base}
`
