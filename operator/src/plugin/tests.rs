//! What the plugin prints beside its tables.

use clap_complete::Shell;

use super::*;

#[test]
fn every_shell_has_a_completion_script_for_the_plugin() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
        let script = completion(CompletionArgs { shell });
        assert!(
            script.contains("kubectl-headwater") && script.contains("streams"),
            "{shell}"
        );
    }
}
